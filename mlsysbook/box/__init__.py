"""The box: where student code runs. A bubblewrap sandbox without network, with a read-only system and hard limits.

limits.py what it may use · library.py what it may import · command.py how it is closed · runner.py what runs inside ·
session.py the parent's side, which keeps the time · cgroup.py hard limits where the host delegates them ·
kernel.py and kernel_worker.py the same with a Jupyter kernel inside.
"""
