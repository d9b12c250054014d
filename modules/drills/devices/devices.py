# %% [markdown]
# # Drill: Small devices
#
# *47 minutes, 46 points. Each answer is a number with its unit, or the number of a choice.*
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
        "conv": "architecture/separable_conv",
        "frame": "latency/frame_budget",
        "duty": "power/duty_cycle",
        "phone": "power/phone_tokens",
        "flash": "deployment/firmware_update",
    })


# %% [markdown]
# ## 1. Separable convolution on a microcontroller

# %%
conv = drill(variant()["conv"])
conv

# %% answer="conv_standard" points=3
# 1. conv_standard = "... OP"
### BEGIN SOLUTION
from staffml import solution

conv_standard = solution("standard", variant()["conv"])
### END SOLUTION

# %% answer="conv_separable" points=2
# 2. conv_separable = ...            the number of a choice
### BEGIN SOLUTION
conv_separable = solution("separable", variant()["conv"])
### END SOLUTION

# %% answer="conv_time" points=3
# 3. conv_time = "... s"
### BEGIN SOLUTION
conv_time = solution("time", variant()["conv"])
### END SOLUTION

# %% [markdown]
# ## 2. Frames a second on the edge

# %%
frame = drill(variant()["frame"])
frame

# %% answer="frame_time" points=3
# 1. frame_time = "... s"
### BEGIN SOLUTION
frame_time = solution("time", variant()["frame"])
### END SOLUTION

# %% answer="frame_frames" points=3
# 2. frame_frames = ...            a number, without a unit
### BEGIN SOLUTION
frame_frames = solution("frames", variant()["frame"])
### END SOLUTION

# %% answer="frame_double" points=2
# 3. frame_double = ...            the number of a choice
### BEGIN SOLUTION
frame_double = solution("double", variant()["frame"])
### END SOLUTION

# %% [markdown]
# ## 3. Battery life of a duty cycle

# %%
duty = drill(variant()["duty"])
duty

# %% answer="duty_energy" points=3
# 1. duty_energy = "... J"
### BEGIN SOLUTION
duty_energy = solution("energy", variant()["duty"])
### END SOLUTION

# %% answer="duty_power" points=3
# 2. duty_power = "... W"
### BEGIN SOLUTION
duty_power = solution("power", variant()["duty"])
### END SOLUTION

# %% answer="duty_life" points=3
# 3. duty_life = "... s"
### BEGIN SOLUTION
duty_life = solution("life", variant()["duty"])
### END SOLUTION

# %% [markdown]
# ## 4. An assistant's share of the battery

# %%
phone = drill(variant()["phone"])
phone

# %% answer="phone_token" points=3
# 1. phone_token = "... J"
### BEGIN SOLUTION
phone_token = solution("token", variant()["phone"])
### END SOLUTION

# %% answer="phone_day" points=3
# 2. phone_day = "... J"
### BEGIN SOLUTION
phone_day = solution("day", variant()["phone"])
### END SOLUTION

# %% answer="phone_share" points=2
# 3. phone_share = ...            the number of a choice
### BEGIN SOLUTION
phone_share = solution("share", variant()["phone"])
### END SOLUTION

# %% [markdown]
# ## 5. A model over the air

# %%
flash = drill(variant()["flash"])
flash

# %% answer="flash_airtime" points=3
# 1. flash_airtime = "... s"
### BEGIN SOLUTION
flash_airtime = solution("airtime", variant()["flash"])
### END SOLUTION

# %% answer="flash_energy" points=3
# 2. flash_energy = "... J"
### BEGIN SOLUTION
flash_energy = solution("energy", variant()["flash"])
### END SOLUTION

# %% answer="flash_days" points=3
# 3. flash_days = "... s"
### BEGIN SOLUTION
flash_days = solution("days", variant()["flash"])
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

# %% key="conv_standard"
from staffml import answer_key


def key(v, earlier):
    return answer_key("standard", v["conv"], earlier, prefix="conv_")


# %% key="conv_separable"
from staffml import answer_key


def key(v, earlier):
    return answer_key("separable", v["conv"], earlier, prefix="conv_")


# %% key="conv_time"
from staffml import answer_key


def key(v, earlier):
    return answer_key("time", v["conv"], earlier, prefix="conv_")


# %% key="frame_time"
from staffml import answer_key


def key(v, earlier):
    return answer_key("time", v["frame"], earlier, prefix="frame_")


# %% key="frame_frames"
from staffml import answer_key


def key(v, earlier):
    return answer_key("frames", v["frame"], earlier, prefix="frame_")


# %% key="frame_double"
from staffml import answer_key


def key(v, earlier):
    return answer_key("double", v["frame"], earlier, prefix="frame_")


# %% key="duty_energy"
from staffml import answer_key


def key(v, earlier):
    return answer_key("energy", v["duty"], earlier, prefix="duty_")


# %% key="duty_power"
from staffml import answer_key


def key(v, earlier):
    return answer_key("power", v["duty"], earlier, prefix="duty_")


# %% key="duty_life"
from staffml import answer_key


def key(v, earlier):
    return answer_key("life", v["duty"], earlier, prefix="duty_")


# %% key="phone_token"
from staffml import answer_key


def key(v, earlier):
    return answer_key("token", v["phone"], earlier, prefix="phone_")


# %% key="phone_day"
from staffml import answer_key


def key(v, earlier):
    return answer_key("day", v["phone"], earlier, prefix="phone_")


# %% key="phone_share"
from staffml import answer_key


def key(v, earlier):
    return answer_key("share", v["phone"], earlier, prefix="phone_")


# %% key="flash_airtime"
from staffml import answer_key


def key(v, earlier):
    return answer_key("airtime", v["flash"], earlier, prefix="flash_")


# %% key="flash_energy"
from staffml import answer_key


def key(v, earlier):
    return answer_key("energy", v["flash"], earlier, prefix="flash_")


# %% key="flash_days"
from staffml import answer_key


def key(v, earlier):
    return answer_key("days", v["flash"], earlier, prefix="flash_")
