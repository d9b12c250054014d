"""One modelling library behind lines of JSON: benchmarks/mlsysim.py starts `python worker.py NAME` in its environment.

    {"time": "solve", "for": 0.5}     the median seconds of one call, or null if the library has no such question
    {"predict": {...row...}}          what it says of a published row, as a dict of seconds, ttft, tpot and rate, or null
    {"bad": true}                     what it does with each bad input: [[label, outcome], ...]

Each library gets the row's own architecture and layout, and its defaults for all else; llm-analysis also the efficiencies
that its own messages name (0.5 of the peak in training, 0.65 of the bandwidth in inference), since its defaults are 1.
"""

import json
import logging
import os
import statistics
import sys
import time
import warnings

SERVING = {"prompt": 2048, "output": 128, "batch": 8}


def requests(first, each, batch, output):
    """The rate of a batch that is prefilled, then decoded."""
    return {"rate": batch * output / (first + (output - 1) * each)}


class Ours:
    def __init__(self):
        import numpy as np

        import mlsysim

        self.sim, self.np = mlsysim, np
        self.model, self.device = mlsysim.model("llama-3.1-8b"), mlsysim.device("h100")
        self.batches, self.flop = np.arange(1, 10_001), np.linspace(1e9, 1e13, 10_000)
        self.next = 0

    def solve(self):
        return self.sim.solve(self.model, self.device, batch=8, tokens=1, context=2048)

    def solve_new(self):
        self.next += 1  # nothing kept from an earlier call fits
        return self.sim.solve(self.model, self.device, batch=8, tokens=1, context=self.next)

    def serving(self):
        return self.sim.serve(self.model, self.device, **SERVING)

    def distributed(self):
        return self.sim.train("llama-3.1-70b", ("dgx-h100", 1024), batch=512, tokens=4096, tp=8, pp=4, zero=1, recompute="full")

    def sweep(self):
        self.sim.roofline(self.flop, 1e9, self.device)

    def sweep_solve(self):
        self.sim.solve(self.model, self.device, batch=self.batches, tokens=1, context=128, allow_infeasible=True)

    def simulation(self):
        from mlsysim.simulate.serving import requests, simulate_serving

        simulate_serving(self.model, self.device, requests(1000, 20, prompt=512, output=128, seed=1))

    scale = {}

    def bad(self):
        from mlsysim import Device, md1, model, roofline, serve, solve, train
        from mlsysim.collectives import all_reduce

        good = dict(peak={"fp16": "989 TFLOP/s"}, bandwidth="3.35 TB/s", memory="80 GB", power="700 W")
        h100, net, cluster = self.device, model("resnet-50"), ("dgx-h100", 1024)
        return {
            "bandwidth -1 TB/s": lambda: Device.define("x", **good | {"bandwidth": "-1 TB/s"}),
            "bandwidth 0": lambda: Device.define("x", **good | {"bandwidth": 0}),
            "bandwidth NaN": lambda: Device.define("x", **good | {"bandwidth": float("nan")}),
            "memory -80 GiB, power -700 W": lambda: Device.define("x", **good | {"memory": "-80 GiB", "power": "-700 W"}),
            "batch 1.5": lambda: solve(net, h100, batch=1.5),
            "int8 on V100, which has none": lambda: solve(net, "v100", precision="int8"),
            "unknown device H1000": lambda: solve(net, "H1000"),
            "serving ResNet-50": lambda: serve(net, h100),
            "70B in fp16 on one H100": lambda: serve("llama-3.1-70b", h100, batch=1, prompt=2048, output=128),
            "tp=256 for 32 heads": lambda: train("llama-3.1-8b", cluster, batch=1024, tokens=2048, tp=256),
            "pp=64 for 32 layers": lambda: train("llama-3.1-8b", cluster, batch=1024, tokens=2048, pp=64),
            "network factor or latency of -5": lambda: all_reduce(1e9, 8, 4.5e11, latency=-5),
            "arrivals -5/s": lambda: md1(-5, 0.01),
            "1 GB + 1": lambda: roofline(1, "1 GB + 1", h100),
        }


class MLSysim:
    """mlsysim 0.3.0 from PyPI."""

    def __init__(self):
        import mlsysim
        from mlsysim import Hardware, Models, Systems, solvers

        self.engine, self.models, self.systems, self.solvers = mlsysim.Engine, Models, Systems, solvers
        cloud = Hardware.Cloud
        self.devices = {"a100": cloud.A100, "h100": cloud.H100, "v100": cloud.V100, "t4": cloud.T4, "h200": cloud.H200}
        self.fleets = {"dgx-a100": Systems.Clusters.Lab_64_A100, "dgx-h100": Systems.Clusters.Lab_64_H100}
        self.nets = {"resnet-50": "ResNet50", "mobilenet-v1": "MobileNetV1", "mobilenet-v2": "MobileNetV2"}

    def solve(self):
        return self.engine.solve(self.models.Language.Llama3_8B, self.devices["h100"], batch_size=8)

    solve_new = solve  # it keeps nothing between calls

    def serving(self):
        return self.solvers.ServingModel().solve(self.models.Language.Llama3_8B, self.devices["h100"], seq_len=2048, batch_size=8)

    def distributed(self):
        return self.solvers.DistributedModel().solve(
            self.models.Language.Llama3_70B, self.systems.Clusters.Training_1K, batch_size=512, tp_size=8, pp_size=4,
            microbatch_count=16, zero_stage=1, activation_recomputation=True, seq_len=4096)  # fmt: skip

    def sweep(self):
        self.engine.sweep(self.models.Language.Llama3_8B, [self.devices["h100"]], batch_sizes=list(range(1, 501)))

    scale = {"sweep": 20}  # 500 of 10,000 points

    def workload(self, m, flop):
        base = self.models.Language.Llama2_7B
        unit = {k: getattr(base, k) / getattr(base, k).magnitude for k in ("parameters", "inference_flops")}
        return base.model_copy(update={
            "parameters": unit["parameters"] * m["params"], "inference_flops": unit["inference_flops"] * flop, "layers": m["layers"],
            "hidden_dim": m["width"], "heads": m["heads"], "kv_heads": m["kv_heads"], "head_dim": m["head_dim"], "vocab_size": m["vocab"],
        })  # fmt: skip

    def predict(self, row):
        a, m = row["args"], row["model"]
        return getattr(self, f"_{row['call']}")(a, m, row)

    def _serve(self, a, m, row):
        if a.get("tp", 1) > 1:
            return None  # its serving knows one device

        def ask(batch, length):
            kind = {"int4-g32": "int4", "bf16": "fp16"}
            precision = a.get("weights") or a["precision"]
            return self.solvers.ServingModel().solve(self.workload(m, 2 * m["params"]), self.devices[a["device"]], seq_len=int(length),
                                                     batch_size=batch, precision=kind.get(precision, precision))  # fmt: skip

        first, all_first = (ask(b, a["prompt"]).ttft.m_as("s") for b in (1, a["batch"]))
        each = ask(a["batch"], a["prompt"] + a["output"] / 2).itl.m_as("s")
        return {"ttft": first, "tpot": each} | requests(all_first, each, a["batch"], a["output"])

    def _train(self, a, m, row):
        node, gpus = a["on"]
        fleet = self.fleets[node].model_copy(update={"count": gpus // 8})
        dp = gpus // (a.get("tp", 1) * a.get("pp", 1))
        r = self.solvers.DistributedModel().solve(
            self.workload(m, 2 * m["params"]), fleet, batch_size=a["batch"], tp_size=a.get("tp", 1), pp_size=a.get("pp", 1),
            v_stages=a.get("interleave", 1), microbatch_count=max(a["batch"] // (dp * a.get("micro_batch", 1)), 1),
            zero_stage=a.get("zero", 0), activation_recomputation=a.get("recompute") == "full", seq_len=a["tokens"])  # fmt: skip
        seconds = a["batch"] / r.effective_throughput.m_as("1/s")
        return {"seconds": seconds, "rate": a["batch"] * a["tokens"] / seconds}

    def _solve(self, a, m, row):
        work = getattr(self.models.Vision, self.nets[a["workload"]]) if a["workload"] in self.nets else self.workload(m, row["flop"])
        r = self.engine.solve(work, self.devices[a["device"]], batch_size=a.get("batch", 1), precision=a["precision"])
        return {"seconds": r.latency.m_as("s"), "rate": r.throughput.m_as("1/s")}

    def _train_net(self, a, m, row):
        device = {"dgx-a100": "a100", "dgx-h100": "h100", "dgx-1-v100": "v100"}[a["on"][0]]
        if a["on"][1] != 1:
            return None  # data parallelism is for its transformers
        work = getattr(self.models.Vision, self.nets[a["model"]])
        r = self.engine.solve(work, self.devices[device], batch_size=a["batch"], precision=a["precision"], is_training=True)
        return {"seconds": r.latency.m_as("s"), "rate": r.throughput.m_as("1/s")}

    def bad(self):
        h100, llama, net = self.devices["h100"], self.models.Language.Llama3_8B, self.models.Vision.ResNet50
        from mlsysim import Hardware
        from mlsysim.core.units import Q_

        core, s, fleet = h100.model_dump(), self.solvers, self.systems.Clusters.Training_1K

        def made(**new):
            return type(h100)(**core | {k: core[k] | v if isinstance(v, dict) else v for k, v in new.items()})

        def spread(**more):
            return s.DistributedModel().solve(llama, fleet, batch_size=1024, **more)

        return {
            "bandwidth -1 TB/s": lambda: self.engine.solve(llama, made(memory={"bandwidth": "-1 TB/s"}), batch_size=8).latency_memory,
            "bandwidth 0": lambda: self.engine.solve(llama, made(memory={"bandwidth": "0 TB/s"})).latency,
            "bandwidth NaN": lambda: self.engine.solve(llama, made(memory={"bandwidth": "nan TB/s"})).latency,
            "memory -80 GiB, power -700 W": lambda: self.engine.solve(net, made(tdp="-700 W", memory={"capacity": "-80 GiB"})).energy,
            "batch 1.5": lambda: self.engine.solve(net, h100, batch_size=1.5).latency,
            "int8 on V100, which has none": lambda: self.engine.solve(net, self.devices["v100"], precision="int8").latency,
            "unknown device H1000": lambda: Hardware.Cloud.H1000,
            "serving ResNet-50": lambda: s.ServingModel().solve(net, h100, seq_len=2048),
            "70B in fp16 on one H100": lambda: s.ServingModel().solve(self.models.Language.Llama3_70B, h100, seq_len=2048).itl,
            "tp=256 for 32 heads": lambda: spread(tp_size=256).step_latency_total,
            "pp=64 for 32 layers": lambda: spread(pp_size=64, microbatch_count=64).step_latency_total,
            "network factor or latency of -5": lambda: spread(tp_size=8, congestion_factor=-5).step_latency_total,
            "arrivals -5/s": lambda: s.TailLatencyModel().solve(-5, 10).p99_latency,
            "1 GB + 1": lambda: Q_("1 GB") + 1,
        }


class LLMAnalysis:
    def __init__(self):
        from llm_analysis import analysis

        analysis.logger.setLevel(logging.ERROR)
        self.a = analysis
        self.gpus = {"a100": "a100-sxm-80gb", "h100": "h100-sxm-80gb", "v100": "v100-sxm-32gb", "dgx-a100": "a100-sxm-80gb",
                     "dgx-a100-40gb": "a100-sxm-40gb", "dgx-h100": "h100-sxm-80gb"}  # fmt: skip
        self.types = {"fp16": "w16a16e16", "bf16": "w16a16e16", "fp8": "w8a8e16", "int8": "w8a16e16", "int4-g32": "w4a16e16"}
        self.llama = dict(params=8.03e9, layers=32, width=4096, heads=32, kv_heads=8, head_dim=128, hidden=14336, gated=True, vocab=128256)
        self.large = self.llama | dict(layers=80, width=8192, heads=64, hidden=28672)

    def made(self, m, gpu, kind, **rest):
        a, hidden = self.a, int(m["hidden"] * (1.5 if m["gated"] else 1))  # three products of a gated layer as two wider ones
        config = a.ModelConfig(name="row", num_layers=m["layers"], n_head=m["heads"], hidden_dim=m["width"], vocab_size=m["vocab"],
                               max_seq_len=1 << 20, num_key_value_heads=m["kv_heads"], ffn_embed_dim=hidden,
                               expansion_ratio=hidden / m["width"])  # fmt: skip
        split = {k: rest.pop(k, 1) for k in ("tp_size", "pp_size", "dp_size", "sp_size")}
        return a.LLMAnalysis(config, a.get_gpu_config_by_name(gpu), a.get_dtype_config_by_name(kind), a.ParallelismConfig(**split), **rest)

    def ask(self, m, a):
        tp = a.get("tp", 1)
        kind = self.types[a.get("weights") or a["precision"]]
        it = self.made(m, self.gpus[a["device"]], kind, tp_size=tp, sp_size=tp, flops_efficiency=1, hbm_memory_efficiency=0.65)
        return it.inference(batch_size_per_gpu=a["batch"], seq_len=a["prompt"], num_tokens_to_generate=a["output"], use_kv_cache=True)

    def solve(self):
        self.ask(self.llama, {"device": "h100", "precision": "fp16", "batch": 8, "prompt": 2048, "output": 1})

    solve_new = solve

    def serving(self):
        self.ask(self.llama, {"device": "h100", "precision": "fp16", **SERVING})

    def distributed(self):
        on = {"on": ["dgx-h100", 1024], "batch": 512, "tokens": 4096, "tp": 8, "pp": 4, "zero": 1, "recompute": "full"}
        self._train(on, self.large, {})

    def sweep(self):
        for batch in range(1, 201):
            self.ask(self.llama, {"device": "h100", "precision": "fp16", "batch": batch, "prompt": 128, "output": 1})

    scale = {"sweep": 50}

    def predict(self, row):
        if row["call"] not in ("serve", "train"):
            return None
        return getattr(self, f"_{row['call']}")(row["args"], row["model"], row)

    def _serve(self, a, m, row):
        r, one = self.ask(m, a), self.ask(m, a | {"batch": 1})
        return {"ttft": one["prefill_latency"], "tpot": r["decode_latency"]} | requests(
            r["prefill_latency"], r["decode_latency"], a["batch"], a["output"])  # fmt: skip

    def _train(self, a, m, row):
        node, gpus = a["on"]
        tp, pp = a.get("tp", 1), a.get("pp", 1)
        it = self.made(m, self.gpus[node], "w16a16e16", tp_size=tp, sp_size=tp, pp_size=pp, dp_size=gpus // (tp * pp),
                       flops_efficiency=0.5)  # fmt: skip
        levels = {"none": 0, "selective": 1, "full": 2}
        r = it.training(global_batch_size=a["batch"], batch_size_per_gpu=a.get("micro_batch", 1), seq_len=a["tokens"],
                        activation_recomputation=self.a.ActivationRecomputation(levels[a.get("recompute", "none")]),
                        ds_zero=self.a.DSZeRO(a.get("zero", 0)), layernorm_dtype_bytes=2, flash_attn=a.get("flash", True))  # fmt: skip
        seconds = r["latency_per_iter"]
        return {"seconds": seconds, "rate": a["batch"] * a["tokens"] / seconds}


class GenZ:
    def __init__(self):
        import GenZ

        self.g = GenZ
        self.systems = {"a100": "A100_80GB_GPU", "h100": "H100_GPU", "mi300x": "MI300X"}
        self.bits = {"fp16": "bf16", "bf16": "bf16", "fp8": "fp8", "int8": "int8", "int4-g32": "int4"}
        self.llama = dict(layers=32, width=4096, heads=32, kv_heads=8, head_dim=128, hidden=14336, gated=True, vocab=128256)

    def ask(self, m, a, batch, output=None):
        config = self.g.ModelConfig(model="row", hidden_size=m["width"], num_attention_heads=m["heads"], num_ffi=2 if m["gated"] else 1,
                                    num_key_value_heads=m["kv_heads"], head_dim=m["head_dim"], intermediate_size=m["hidden"],
                                    num_decoder_layers=m["layers"], vocab_size=m["vocab"])  # fmt: skip
        tp = a.get("tp", 1)
        common = dict(model=config, batch_size=batch, input_tokens=a["prompt"], system_name=self.systems[a["device"]], tensor_parallel=tp,
                      bits=self.bits[a.get("weights") or a["precision"]], parallelism_heirarchy=f"TP{{{tp}}}_EP{{1}}_PP{{1}}")  # fmt: skip
        if output is None:
            return self.g.prefill_moddeling(**common)["Latency"] / 1e3
        return self.g.decode_moddeling(**common, output_tokens=output, Bb=1)["Latency"] / 1e3

    def solve(self):
        self.ask(self.llama, {"device": "h100", "precision": "fp16", "prompt": 2048}, 8, 1)

    solve_new = solve

    def serving(self):
        self.predict({"call": "serve", "model": self.llama, "args": {"device": "h100", "precision": "fp16", **SERVING}})

    def sweep(self):
        for batch in range(1, 11):
            self.ask(self.llama, {"device": "h100", "precision": "fp16", "prompt": 128}, batch, 1)

    scale = {"sweep": 1000}

    def predict(self, row):
        if row["call"] != "serve":
            return None
        a, m = row["args"], row["model"]
        each = self.ask(m, a, a["batch"], a["output"] // 2)
        first = self.ask(m, a, 1)
        return {"ttft": first, "tpot": each} | requests(self.ask(m, a, a["batch"]), each, a["batch"], a["output"])


LIBRARIES = {"ours": Ours, "mlsysim": MLSysim, "llm-analysis": LLMAnalysis, "genz-llm": GenZ}


def timed(library, what, limit):
    call = getattr(library, what, None)
    if call is None:
        return None
    call()
    spent, end = [], time.perf_counter() + limit
    while len(spent) < 3 or (time.perf_counter() < end and len(spent) < 20_000):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent) * library.scale.get(what, 1)


def outcome(call):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    note = f", with a {said[0].category.__name__}" if said else ""
    return f"accepted: {value}{note}"


def answer(library, question):
    if "time" in question:
        return timed(library, question["time"], question["for"])
    if "bad" in question:
        return [[label, outcome(call)] for label, call in library.bad().items()]
    try:
        return library.predict(question["predict"])
    except Exception:  # a device it does not list, a model that does not fit: it has no answer
        return None


def main():
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    library = LIBRARIES[sys.argv[1]]()
    for line in sys.stdin:
        talk.write(json.dumps(answer(library, json.loads(line))) + "\n")
        talk.flush()


if __name__ == "__main__":
    main()
