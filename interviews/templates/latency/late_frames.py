"""A video overlay lags. A pause, heat, too much work, or a slower step that keeps up? Read it from the delays of a dozen frames."""
import numpy as np

from mlsysim.simulate.pipeline import simulate_pipeline
from staffml import Cause, Choice, Diagnosis, Misconception, Table, Template


def played(p):
    """Delay of every frame, from its capture to the screen."""
    work = np.repeat([[[p.period]], [[p.crop]], [[p.network]], [[p.draw]]], p.frames, axis=2)
    step, frames = {"pause": (2, slice(p.at, p.at + 1)), "heat": (2, slice(p.at, None)), "load": (2, slice(None)),
                    "crop": (1, slice(None))}[p.fault]
    work[step, 0, frames] = {"pause": p.pause, "crop": p.period - p.draw / 2}.get(p.fault, p.period * (1 + p.over))
    run = simulate_pipeline(work, np.zeros(work.shape), stages=len(work), micro_batches=p.frames, schedule="gpipe")
    end = {stage: run.end[(run.kind == 0) & (run.stage == stage)] for stage in (0, len(work) - 1)}
    return np.sort(end[len(work) - 1]) - np.sort(end[0])


def planned(p):
    return p.crop + p.network + p.draw


def shows(table, p):
    delays = [row[1] for row in table.rows]
    if max(delays) > delays[-1]:
        return "pause"
    return ("load" if delays[1] > delays[0] else "heat") if delays[-1] > delays[1] else "crop"


template = Template(
    title="Why does the overlay lag?", area="latency", topic="profiling-bottleneck-analysis", track="edge", level="L5", chapter="V2-11",
    minutes=15, requires=("latency/frame_budget",),
    space={"fault": ("pause", "heat", "load", "crop"), "at": (3, 4, 5, 6), "over": (0.1, 0.2, 0.3), "pause": (0.15, 0.2, 0.25, 0.3),
           "period": (0.02, 0.025, 0.04, 0.05), "crop": (0.003, 0.004, 0.005, 0.006), "network": (0.01, 0.012, 0.014, 0.015),
           "draw": (0.004, 0.005, 0.006, 0.008), "frames": (12,)},
    hidden=("fault", "at", "over", "pause"), figures={"plan": planned},
    table=lambda p: Table((("frame", None), ("delay on the screen", "s")), tuple((str(i + 1), d) for i, d in enumerate(played(p))),
                          tells=("fault", "at", "over", "pause")),
    prompt="""
        A box at a machine captures a frame every {period:ms}, crops it ({crop:ms}), runs a network on it ({network:ms}) and draws the
        result ({draw:ms}). Each step works on one frame at a time, and all of them at the same time, on different frames; frames queue
        between them, and none is dropped. One thing is not as it should be. Below is the delay from the capture to the screen.""",
    parts=(
        Choice("plan", "Which delay should a frame have?", "s", planned, ("5 ms", "100 ms"), (
            Misconception("slowest step", lambda p: max(p.crop, p.network, p.draw), 0.25,
                          "The slowest step says how many frames a second; a frame goes through all of them."),
            Misconception("one period each", lambda p: p.period * (2 + 1), 0.25, "A frame goes on as soon as a step is done with it."),
            Misconception("and a period", lambda p: planned(p) + p.period, 0.25, "The delay is counted from the capture."))),
        Diagnosis("cause", "What has happened?", "fault", (
            Cause("pause", "One frame was held up, and the frames behind it with it.", 0.0, "Then the queue would shrink again."),
            Cause("heat", "The network became slower on the way, and cannot keep up since.", 0.25,
                  "Then the first frames would still be on time, at {plan:ms}, and the delay would grow from some frame to the end."),
            Cause("load", "The network has been too slow for the camera from the first frame on.", 0.25,
                  "Then the delay would grow from the first frame on."),
            Cause("crop", "Cropping takes longer than it should, and still keeps up.", 0.0,
                  "Then all delays would be too long, and alike.")),
            shows)))
