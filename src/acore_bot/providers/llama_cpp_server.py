"""The child process of the embedded model: llama.cpp's own server on a loopback port.

Run by its path, so it imports nothing else of this package. Reads one line of JSON
(`ServerOptions`) from standard input, answers one line of JSON (`ServerReady`) on standard output,
then serves until standard input closes. So it ends with its parent, even if the parent is killed.
"""

import os
import signal
import sys

import msgspec


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to serve. `context_tokens` is the window of each of the `slots`; the key is what every
    request must carry; `cache_ram_mib` bounds the memory for prompts that hold no slot;
    `temperature` serves requests that name none (None: llama.cpp's own, 0.8); `avoids_loops` keeps
    a model that would from saying the same for ever."""

    model_file: str
    model_name: str
    api_key: str
    context_tokens: int
    slots: int
    threads: int | None
    cache_ram_mib: int
    temperature: float | None
    avoids_loops: bool


class ServerReady(msgspec.Struct, frozen=True):
    """Where the server listens, such as `http://127.0.0.1:40113`."""

    address: str


def main() -> None:
    """Serve until standard input closes."""
    # Ctrl-C in a terminal reaches every process of it; when to stop is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = msgspec.json.decode(sys.stdin.buffer.readline(), type=ServerOptions)
    server = start(options)
    sys.stdout.buffer.write(msgspec.json.encode(ServerReady(server.listening_address)) + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
    # Nothing here is worth saving, and the C++ threads may be in the middle of an answer.
    os._exit(0)


def start(options: ServerOptions):  # type: ignore[no-untyped-def]  # noqa: ANN201 -- untyped library
    """Load the model and start to listen."""
    import xllamacpp  # noqa: PLC0415 -- 100 MB of library, wanted in the child only

    params = xllamacpp.CommonParams()
    params.model.path = options.model_file
    params.model_alias = {options.model_name}
    params.n_parallel = options.slots
    params.n_ctx = options.context_tokens * options.slots
    params.cache_ram_mib = options.cache_ram_mib
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [options.api_key]
    params.cors_origins = ""
    params.ui = False
    params.verbosity = 1
    if options.avoids_loops:
        # Whole phrases said again count against the next word; single words and names do not.
        params.sampling.dry_multiplier = 0.8
        params.sampling.dry_allowed_length = 8
        params.sampling.dry_penalty_last_n = 512
    if options.temperature is not None:
        params.sampling.temp = options.temperature
    if options.threads is not None:
        params.cpuparams.n_threads = options.threads
        params.cpuparams_batch.n_threads = options.threads
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
