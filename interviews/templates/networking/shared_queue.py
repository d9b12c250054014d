"""A queue for each server or one for all: mean times, and how many servers a shared queue saves."""
from mlsysim import queueing
from staffml import Misconception, Part, Template


def own(p):
    return queueing.mmc(p.rate / p.servers, p.service, 1).seconds


def shared(p, servers):
    return queueing.mmc(p.rate, p.service, servers).seconds


def enough(p, limit):
    return next(n for n in range(int(p.rate * p.service) + 1, p.servers + 1) if n == p.servers or shared(p, n) <= limit)


def clear(p):
    """Whether no number of boxes is so nearly as quick that rounding decides."""
    return all(abs(shared(p, n) / own(p) - 1) > 1 / 2**5 for n in range(int(p.rate * p.service) + 1, p.servers))


template = Template(
    title="One queue or many", area="networking", topic="load-balancing", track="edge", level="L4", chapter="V2-10", minutes=12,
    requires=("latency/single_server",),
    space={"servers": (4, 5, 6, 7, 8, 9, 10, 12), "rate": tuple(10 * n for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 18, 20, 24)),
           "service": tuple(n * 1e-3 for n in (20, 24, 25, 30, 35, 40, 45, 50, 60, 70, 75, 80, 90, 100, 120, 150))},
    where=lambda p: p.servers / 2 < p.rate * p.service < p.servers * (1 - 1 / 2**4) and clear(p),
    prompt="""
        A factory hall has {servers} equal boxes that inspect parts. All cameras together send {rate} requests a second, at random
        (Poisson); a request takes {service:ms} on average on a box, and service times are exponential. A balancer sends each
        request to a box at random, and every box has a queue of its own.""",
    parts=(
        Part("own", "How long does a request take on average, waiting included?", "s", own, ("20 ms", "10 s"), (
            Misconception("no waiting", lambda p: p.service, 0.0, "At this load requests queue up."),
            Misconception("waiting only", lambda p: own(p) - p.service, 0.5, "The request is served as well."),
            Misconception("one queue", lambda p: shared(p, p.servers), 0.25,
                          "Here a request can wait behind a busy box while another box idles."))),
        Part("shared", "Now requests wait in one queue, and a box that is free takes the next. How long do they take on average?", "s",
             lambda p: shared(p, p.servers), ("20 ms", "5 s"), (
            Misconception("one fast box", lambda p, own: own / p.servers, 0.25,
                          "A request is served by one box at its own pace, however many there are."),
            Misconception("as before", lambda p, own: own, 0.0, "No box idles any more while requests wait."),
            Misconception("no waiting", lambda p: p.service, 0.25, "Now and then all boxes are busy."))),
        Part("boxes", "How few boxes on one queue are at least as quick as the {servers} with queues of their own?", "",
             lambda p, own: enough(p, own), ("2", "12"), (
            Misconception("all of them", lambda p: p.servers, 0.0, "Sharing the queue makes up for some of the boxes."),
            Misconception("one for all", lambda p: 1, 0.0, "The boxes must at least keep up with the requests."),
        ), rounding=round)))
