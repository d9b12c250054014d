"""The box: where student code runs. A bubblewrap sandbox without network, with a read-only system and hard limits.

limits.py what it may use · library.py what it may import · command.py how it is closed · seccomp.py what the kernel refuses ·
cgroup.py hard limits where the host delegates them · runner.py what runs inside, kernel_worker.py for a Jupyter kernel ·
watch.py what it tells of itself · session.py the parent's side, which keeps the time · channel.py the line between them ·
outputs.py what of a cell's output is kept.
"""
