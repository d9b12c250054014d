"""Event-driven models, for what no closed form gives: tails, queues that fill, failures, schedules.

serving: requests on replicas that batch continuously; pipeline: schedules of stages and micro-batches; failures: a job with
checkpoints, many times over; cluster: jobs that share devices.
"""
