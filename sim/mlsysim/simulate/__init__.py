"""Event-driven models, for what no closed form gives: tails, queues that fill, failures, schedules.

serving: requests on replicas that batch continuously. Other files: one each for pipelines, failures and clusters.
"""
