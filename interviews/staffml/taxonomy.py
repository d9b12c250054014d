"""What templates are filed under: tracks, levels, areas with their topics, and chapters of the book.

Levels follow Bloom: remember, understand, apply, analyze, evaluate, create. Areas and topics are those of the StaffML
question bank (harvard-edge/cs249r_book, interviews/vault/schema).
"""

import difflib

TRACKS = ("cloud", "edge", "mobile", "tiny", "global")
LEVELS = {"L1": "remember", "L2": "understand", "L3": "apply", "L4": "analyze", "L5": "evaluate", "L6+": "create"}
TOPICS = {
    "architecture": (
        "transformer-systems-cost", "cnn-efficient-design", "attention-scaling", "mixture-of-experts", "model-size-estimation",
        "neural-architecture-search", "encoder-decoder-tradeoffs", "recommendation-systems-engineering"),
    "compute": (
        "roofline-analysis", "gpu-compute-architecture", "accelerator-comparison", "mcu-compute-constraints", "systolic-dataflow",
        "compute-cost-estimation", "chiplet-architecture"),
    "memory": (
        "vram-budgeting", "kv-cache-management", "memory-hierarchy-design", "activation-memory", "memory-mapped-inference",
        "tensor-arena-planning", "dma-data-movement", "memory-pressure-management"),
    "latency": (
        "latency-decomposition", "batching-strategies", "tail-latency", "real-time-deadlines", "profiling-bottleneck-analysis",
        "queueing-theory"),
    "precision": ("quantization-fundamentals", "mixed-precision-training", "extreme-quantization"),
    "power": ("power-budgeting", "thermal-management", "energy-per-operation", "duty-cycling", "datacenter-efficiency"),
    "optimization": (
        "pruning-sparsity", "knowledge-distillation", "kernel-fusion", "graph-compilation", "operator-scheduling", "flash-attention",
        "speculative-decoding"),
    "parallelism": (
        "data-parallelism", "model-tensor-parallelism", "pipeline-parallelism", "3d-parallelism", "gradient-synchronization",
        "scheduling-resource-management", "communication-computation-overlap"),
    "networking": (
        "collective-communication", "interconnect-topology", "network-bandwidth-bottlenecks", "rdma-transport", "load-balancing",
        "congestion-control"),
    "deployment": (
        "model-serving-infrastructure", "mlops-lifecycle", "ota-firmware-updates", "container-orchestration", "model-format-conversion",
        "ab-rollout-strategies", "compound-ai-systems", "disaggregated-serving", "model-adaptation-systems"),
    "reliability": (
        "fault-tolerance-checkpointing", "distribution-drift-detection", "graceful-degradation", "safety-certification",
        "adversarial-robustness", "monitoring-observability"),
    "data": (
        "data-pipeline-engineering", "feature-store-management", "data-quality-validation", "dataset-curation", "streaming-ingestion",
        "storage-format-selection", "data-efficiency-selection"),
    "cross-cutting": (
        "federated-learning", "differential-privacy", "fairness-evaluation", "responsible-ai", "tco-cost-modeling",
        "autograd-computational-graphs", "software-portability", "sustainability-carbon-accounting"),
}
AREAS = tuple(TOPICS)
CHAPTERS = {
    f"V{volume}-{number:02}": title
    for volume, titles in enumerate((
        ("Introduction", "ML Systems", "ML Workflow", "Data Engineering", "Neural Computation", "Network Architectures",
         "ML Frameworks", "Model Training", "Data Selection", "Model Compression", "Hardware Acceleration", "Benchmarking",
         "Model Serving", "ML Operations", "Responsible Engineering", "Conclusion"),
        ("Introduction", "Compute Infrastructure", "Network Fabrics", "Data Storage", "Distributed Training",
         "Collective Communication", "Fault Tolerance", "Fleet Orchestration", "Performance Engineering", "Inference at Scale",
         "Edge Intelligence", "ML Operations at Scale", "Security & Privacy", "Robust AI", "Sustainable AI", "Responsible AI",
         "Conclusion")), 1)
    for number, title in enumerate(titles, 1)
}


def complaint(what, value, known):
    """One line that names the nearest if `value` is not one of `known`; None if it is."""
    if value in known:
        return None
    few = ", ".join(known) if len(known) <= 13 else f"{len(known)} known ones"
    near = difflib.get_close_matches(str(value), list(known), n=1, cutoff=0.4)
    return f"{what} {value!r} is not one of {few}" + (f"; did you mean {near[0]}?" if near else "")
