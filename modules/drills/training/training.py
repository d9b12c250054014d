# %% [markdown]
# # Drill: A training run
#
# *57 minutes, 41 points. Each answer is a number with its unit, or the number of a choice.*
#
# Say what you assume, build the number up one step at a time, carry the unit, and hold the result against a bound that
# you trust. Your numbers differ from your neighbour's. Answers are recorded here and judged after submission: "recorded"
# means that the text could be read, not that it is right. Where one answer builds on another, a later step is judged
# with your own earlier number as well, so one slip costs its points once.

# %%
from mlsysbook import variant
from staffml import drill


# %% variants
def pool():
    from staffml import bake_set

    return bake_set({
        "mem": "memory/training_state",
        "ring": "networking/ring_all_reduce",
        "pipe": "parallelism/pipeline_bubble",
        "ckpt": "reliability/checkpoint_interval",
        "days": "compute/training_time",
    })


# %% [markdown]
# ## 1. Memory of training state

# %%
mem = drill(variant()["mem"])
mem

# %% answer="mem_whole" points=3
# 1. mem_whole = "... B"
### BEGIN SOLUTION
from staffml import solution

mem_whole = solution("whole", variant()["mem"])
### END SOLUTION

# %% answer="mem_first" points=3
# 2. mem_first = "... B"
### BEGIN SOLUTION
mem_first = solution("first", variant()["mem"])
### END SOLUTION

# %% answer="mem_devices" points=3
# 3. mem_devices = ...            a number, without a unit
### BEGIN SOLUTION
mem_devices = solution("devices", variant()["mem"])
### END SOLUTION

# %% [markdown]
# ## 2. Ring all-reduce of gradients

# %%
ring = drill(variant()["ring"])
ring

# %% answer="ring_ring" points=3
# 1. ring_ring = "... s"
### BEGIN SOLUTION
ring_ring = solution("ring", variant()["ring"])
### END SOLUTION

# %% answer="ring_bucket" points=3
# 2. ring_bucket = "... s"
### BEGIN SOLUTION
ring_bucket = solution("bucket", variant()["ring"])
### END SOLUTION

# %% [markdown]
# ## 3. The bubble of a pipeline

# %%
pipe = drill(variant()["pipe"])
pipe

# %% answer="pipe_idle" points=3
# 1. pipe_idle = "... %"
### BEGIN SOLUTION
pipe_idle = solution("idle", variant()["pipe"])
### END SOLUTION

# %% answer="pipe_step" points=3
# 2. pipe_step = "... s"
### BEGIN SOLUTION
pipe_step = solution("step", variant()["pipe"])
### END SOLUTION

# %% answer="pipe_kept" points=2
# 3. pipe_kept = ...            the number of a choice
### BEGIN SOLUTION
pipe_kept = solution("kept", variant()["pipe"])
### END SOLUTION

# %% [markdown]
# ## 4. Checkpoints against failures

# %%
ckpt = drill(variant()["ckpt"])
ckpt

# %% answer="ckpt_mtbf" points=3
# 1. ckpt_mtbf = "... s"
### BEGIN SOLUTION
ckpt_mtbf = solution("mtbf", variant()["ckpt"])
### END SOLUTION

# %% answer="ckpt_interval" points=3
# 2. ckpt_interval = "... s"
### BEGIN SOLUTION
ckpt_interval = solution("interval", variant()["ckpt"])
### END SOLUTION

# %% answer="ckpt_waste" points=3
# 3. ckpt_waste = "... %"
### BEGIN SOLUTION
ckpt_waste = solution("waste", variant()["ckpt"])
### END SOLUTION

# %% [markdown]
# ## 5. Days of a training run

# %%
days = drill(variant()["days"])
days

# %% answer="days_flop" points=3
# 1. days_flop = "... FLOP"
### BEGIN SOLUTION
days_flop = solution("flop", variant()["days"])
### END SOLUTION

# %% answer="days_time" points=2
# 2. days_time = "... s"
### BEGIN SOLUTION
days_time = solution("time", variant()["days"])
### END SOLUTION

# %% [markdown]
# ## Before you hand in
# Which of your numbers is furthest from what you would have guessed before you computed it? Does each unit cancel to the
# one that was asked for? Is anything larger than what holds it, or faster than light?

# %% [markdown] rubric="doubt" points=4
# **Which one of your numbers would you check first on a real system, what would you measure, and which of its
# assumptions do you expect to fail?** Three or four sentences.
#
# ### BEGIN MARK SCHEME
# 1 point: names one number of this notebook and the assumption behind it.
#
# 2 points: a measurement that one person could make (tool or counter, where, for how long) and the value that it should
# give if the assumption holds.
#
# 1 point: says in which direction the number errs if the assumption fails, and why.
#
# No points for "use a profiler" without what to look for.
# ### END MARK SCHEME

# %% key="mem_whole"
from staffml import answer_key


def key(v, earlier):
    return answer_key("whole", v["mem"], earlier, prefix="mem_")


# %% key="mem_first"
from staffml import answer_key


def key(v, earlier):
    return answer_key("first", v["mem"], earlier, prefix="mem_")


# %% key="mem_devices"
from staffml import answer_key


def key(v, earlier):
    return answer_key("devices", v["mem"], earlier, prefix="mem_")


# %% key="ring_ring"
from staffml import answer_key


def key(v, earlier):
    return answer_key("ring", v["ring"], earlier, prefix="ring_")


# %% key="ring_bucket"
from staffml import answer_key


def key(v, earlier):
    return answer_key("bucket", v["ring"], earlier, prefix="ring_")


# %% key="pipe_idle"
from staffml import answer_key


def key(v, earlier):
    return answer_key("idle", v["pipe"], earlier, prefix="pipe_")


# %% key="pipe_step"
from staffml import answer_key


def key(v, earlier):
    return answer_key("step", v["pipe"], earlier, prefix="pipe_")


# %% key="pipe_kept"
from staffml import answer_key


def key(v, earlier):
    return answer_key("kept", v["pipe"], earlier, prefix="pipe_")


# %% key="ckpt_mtbf"
from staffml import answer_key


def key(v, earlier):
    return answer_key("mtbf", v["ckpt"], earlier, prefix="ckpt_")


# %% key="ckpt_interval"
from staffml import answer_key


def key(v, earlier):
    return answer_key("interval", v["ckpt"], earlier, prefix="ckpt_")


# %% key="ckpt_waste"
from staffml import answer_key


def key(v, earlier):
    return answer_key("waste", v["ckpt"], earlier, prefix="ckpt_")


# %% key="days_flop"
from staffml import answer_key


def key(v, earlier):
    return answer_key("flop", v["days"], earlier, prefix="days_")


# %% key="days_time"
from staffml import answer_key


def key(v, earlier):
    return answer_key("time", v["days"], earlier, prefix="days_")
