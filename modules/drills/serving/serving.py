# %% [markdown]
# # Drill: A service under load
#
# *47 minutes, 30 points. Each answer is a number with its unit, or the number of a choice.*
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
        "mm1": "latency/single_server",
        "slow": "latency/slow_service",
        "cost": "deployment/token_cost",
        "roof": "compute/roofline",
    })


# %% [markdown]
# ## 1. Load, mean and tail of one server

# %%
mm1 = drill(variant()["mm1"])
mm1

# %% answer="mm1_load" points=3
# 1. mm1_load = "... %"
### BEGIN SOLUTION
from staffml import solution

mm1_load = solution("load", variant()["mm1"])
### END SOLUTION

# %% answer="mm1_mean" points=3
# 2. mm1_mean = "... s"
### BEGIN SOLUTION
mm1_mean = solution("mean", variant()["mm1"])
### END SOLUTION

# %% answer="mm1_tail" points=3
# 3. mm1_tail = "... s"
### BEGIN SOLUTION
mm1_tail = solution("tail", variant()["mm1"])
### END SOLUTION

# %% [markdown]
# ## 2. Why is it slow today?

# %%
slow = drill(variant()["slow"])
slow

# %% answer="slow_cause" points=2
# 1. slow_cause = ...            the number of a choice
### BEGIN SOLUTION
slow_cause = solution("cause", variant()["slow"])
### END SOLUTION

# %% answer="slow_load" points=2
# 2. slow_load = ...            the number of a choice
### BEGIN SOLUTION
slow_load = solution("load", variant()["slow"])
### END SOLUTION

# %% [markdown]
# ## 3. Cost of a million tokens

# %%
cost = drill(variant()["cost"])
cost

# %% answer="cost_hour" points=3
# 1. cost_hour = "... USD"
### BEGIN SOLUTION
cost_hour = solution("hour", variant()["cost"])
### END SOLUTION

# %% answer="cost_million" points=2
# 2. cost_million = ...            the number of a choice
### BEGIN SOLUTION
cost_million = solution("million", variant()["cost"])
### END SOLUTION

# %% [markdown]
# ## 4. Roofline of a matrix product

# %%
roof = drill(variant()["roof"])
roof

# %% answer="roof_intensity" points=3
# 1. roof_intensity = "... FLOP/B"
### BEGIN SOLUTION
roof_intensity = solution("intensity", variant()["roof"])
### END SOLUTION

# %% answer="roof_ridge" points=3
# 2. roof_ridge = "... FLOP/B"
### BEGIN SOLUTION
roof_ridge = solution("ridge", variant()["roof"])
### END SOLUTION

# %% answer="roof_time" points=2
# 3. roof_time = ...            the number of a choice
### BEGIN SOLUTION
roof_time = solution("time", variant()["roof"])
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

# %% key="mm1_load"
from staffml import answer_key


def key(v, earlier):
    return answer_key("load", v["mm1"], earlier, prefix="mm1_")


# %% key="mm1_mean"
from staffml import answer_key


def key(v, earlier):
    return answer_key("mean", v["mm1"], earlier, prefix="mm1_")


# %% key="mm1_tail"
from staffml import answer_key


def key(v, earlier):
    return answer_key("tail", v["mm1"], earlier, prefix="mm1_")


# %% key="slow_cause"
from staffml import answer_key


def key(v, earlier):
    return answer_key("cause", v["slow"], earlier, prefix="slow_")


# %% key="slow_load"
from staffml import answer_key


def key(v, earlier):
    return answer_key("load", v["slow"], earlier, prefix="slow_")


# %% key="cost_hour"
from staffml import answer_key


def key(v, earlier):
    return answer_key("hour", v["cost"], earlier, prefix="cost_")


# %% key="cost_million"
from staffml import answer_key


def key(v, earlier):
    return answer_key("million", v["cost"], earlier, prefix="cost_")


# %% key="roof_intensity"
from staffml import answer_key


def key(v, earlier):
    return answer_key("intensity", v["roof"], earlier, prefix="roof_")


# %% key="roof_ridge"
from staffml import answer_key


def key(v, earlier):
    return answer_key("ridge", v["roof"], earlier, prefix="roof_")


# %% key="roof_time"
from staffml import answer_key


def key(v, earlier):
    return answer_key("time", v["roof"], earlier, prefix="roof_")
