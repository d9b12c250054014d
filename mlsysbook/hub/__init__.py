"""A JupyterHub for one class: `mlsys hub CLASS` checks the machine, starts the hub and stops all of it again.

settings    what class.yml says and what the machine offers, as data
checks      everything that can be wrong before the start, one line each
exchange    the folder through which students and instructors pass work
accounts    Unix users: who may log in, who is missing
auth        authenticators that ask the roster on every login
configure   settings -> JupyterHub configuration and the files that single-user servers read
supervise   starts the hub, stops it in order, leaves no process behind
launch      run(), the verb
"""
