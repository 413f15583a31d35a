"""Open a local page: ask the tuned model for diagrams, watch them being drawn, and follow the three steps.

    python fine_tuning/page.py                                     the real model, on a CUDA GPU
    python fine_tuning/page.py --model embedded --workspace demo   a small model, on a CPU

Only programs on this machine can reach the page, and it loads nothing from the network. The model is loaded at the
first request. The tab with the runs needs no model: open the page while a step trains. Ctrl-C ends it.
"""

import argparse
import os
import signal
import sys
import threading
import webbrowser
from typing import Any

from fine_tuning.common import run
from fine_tuning.run.command_line import add_plain, make_parser, to_options, whole_number
from fine_tuning.run.commands import flags
from fine_tuning.run.entry_point import INTERRUPTS, printable
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.model_check import check_model
from fine_tuning.run.options import Options, set_environment
from fine_tuning.run.processes import refuse_several
from fine_tuning.web.examples import held_out_requests
from fine_tuning.web.runs import Runs
from fine_tuning.web.server import PageServer
from fine_tuning.web.tuned import TunedModel
from fine_tuning.web.worker import Worker

PORT = 8421
SECONDS_TO_END = 3.0  # that a request at work has to stop


def main() -> None:
    refuse_several()

    # 1. Read the command line. All problems are reported together, before torch is imported.
    args = parse_arguments()
    options = to_options(args)
    set_environment(options)
    checks = Checks()
    with checks:
        check_model(options)
    checks.finish()

    # 2. One thread asks the model, and loads it at the first request. The server never waits for it.
    model, runs = TunedModel(options), Runs(options)
    worker = Worker(model)
    examples: list[str] = []
    server = PageServer(
        args.port,
        worker,
        lambda: state(options, model, worker, examples),
        lambda: {"steps": runs.facts()},
        runs.picture,
    )
    worker.start()
    threading.Thread(target=lambda: examples.extend(held_out_requests(options)), daemon=True).start()

    # 3. Serve the page until Ctrl-C.
    print(f"the page is at {server.address}  (Ctrl-C ends it)", flush=True)
    try:
        print(f"it asks the adapter in {model.adapter()}", flush=True)
    except UserError as error:
        print(printable(f"note: {error}"), file=sys.stderr)
    if args.open:
        webbrowser.open(server.address)
    serve(server, worker)
    print("the page has ended")


def parse_arguments() -> argparse.Namespace:
    """Read the command line. On --help argparse exits with status 0, on a mistake with status 2."""
    parser = make_parser(__doc__, is_step=False)
    parser.add_argument(
        "--port",
        type=whole_number(0, 65535),
        default=PORT,
        help=f"port of the page on this machine; 0 takes any free one (default: {PORT})",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser too")
    add_plain(parser)
    return parser.parse_args(flags())


def state(options: Options, model: TunedModel, worker: Worker, examples: list[str]) -> dict[str, Any]:
    """What the page shows beside the answers."""
    facts: dict[str, Any] = {"model": options.model_name, "workspace": options.workspace.root.name}
    facts |= {"examples": examples, "queue": worker.length}
    try:
        return facts | {"adapter": model.adapter().relative_to(options.workspace.root).as_posix()}
    except (UserError, OSError) as error:  # an OSError while a step replaces its adapter
        return facts | {"problem": str(error)}


def serve(server: PageServer, worker: Worker) -> None:
    """Serve until SIGINT or SIGTERM. Then end the request that is at work and close the port."""
    ended = threading.Event()
    for number in INTERRUPTS:
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not ended.wait(0.5):  # a wait without a limit would not notice a signal on Windows
        pass
    server.shutdown()
    server.server_close()
    worker.stop_all()
    if not worker.wait(SECONDS_TO_END):  # it is loading the model: the end of Python must not wait for that
        print("the page has ended", flush=True)
        os._exit(0)


if __name__ == "__main__":
    run(main)
