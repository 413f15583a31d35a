"""The child process that runs llama.cpp: a server on this machine with one GGUF file, until its stdin is closed.

`LlamaCpp` starts it. llama.cpp is native code: where it crashes, only this process dies. Prints one JSON object: the
server's address, or why there is none.
"""

import json
import sys


def main() -> None:
    path, context, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.port = context, 1, 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        print(json.dumps({"problem": str(error)}), flush=True)
        return
    print(json.dumps({"address": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
