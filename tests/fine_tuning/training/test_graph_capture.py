"""Which memory the CUDA graphs of a training share. The parts of torch that need a GPU are stand-ins."""

import contextlib
import itertools

import pytest
import torch

from fine_tuning.training.graph_capture import CudaCapture


class Graph:
    """A stand-in for a CUDA graph, which can only be captured into the pool of a living graph, or into a new one."""

    numbers = itertools.count()

    def __init__(self):
        self.users = []

    def pool(self):
        return self.users

    def replay(self):
        pass


@pytest.fixture
def capture(monkeypatch):
    class Stream:
        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def graph(graph, pool, stream, capture_error_mode):
        if pool is not None:
            assert pool, "the pool has ended"
            graph.users = pool
        graph.users.append(next(Graph.numbers))
        yield

    monkeypatch.setattr(Graph, "__del__", lambda graph: graph.users.pop(), raising=False)
    for name, stand_in in {
        "Stream": Stream, "current_stream": Stream, "stream": lambda stream: contextlib.nullcontext(),
        "synchronize": lambda: None, "graph": graph, "CUDAGraph": Graph,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return CudaCapture()


def work():
    return (torch.ones(1),)


def pool_of(replay):
    return next(cell.cell_contents for cell in replay.__closure__ if isinstance(cell.cell_contents, Graph)).pool()


def test_graphs_share_a_pool_also_when_the_first_of_them_is_gone(capture):
    first, second = capture(work), capture(work)
    assert pool_of(first) is pool_of(second)
    del first
    assert pool_of(capture(work)) is pool_of(second)


def test_a_graph_that_is_not_kept_takes_its_pool_with_it(capture):
    """As where plain steps are faster: the next bucket is tried in a pool of its own."""
    capture(work)
    kept = capture(work)
    assert pool_of(kept) is pool_of(capture(work))


def test_a_replay_returns_copies(capture):
    outputs = (torch.ones(1),)
    (found,) = capture(lambda: outputs)()
    outputs[0].zero_()
    assert found == 1
