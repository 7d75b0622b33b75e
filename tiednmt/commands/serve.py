"""Serve a page in the browser: translations, attention and nearest words.

  tiednmt serve en-cs
  tiednmt serve runs/checkpoint_best.pt --port 8080

It shows the translations, the attention of the best one, and the nearest neighbours of a word in
each embedding matrix. Under three-way tying that is one matrix for both languages. Only this
machine can open the page, unless --host says otherwise. There is also a JSON interface
(tiednmt.serve.server).
"""

from __future__ import annotations

from collections.abc import Sequence

from tiednmt.commandline import add_models, command_parser, quiet_libraries
from tiednmt.errors import UserError, one_line_errors
from tiednmt.options import Range


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line ``argv`` (default: the process's own arguments)."""
    parser = command_parser("tiednmt serve", __doc__)
    add_models(parser)
    parser.add_argument(
        "--port",
        type=Range(0, 65535),
        default=8000,
        metavar="N",
        help="port; 0 takes any free one (default: 8000)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; there is no password, so anyone who reaches it can use it "
        "(default: 127.0.0.1, which only this machine reaches)",
    )
    args = parser.parse_args(argv)
    quiet_libraries()

    from tiednmt.serve.answers import Answers
    from tiednmt.serve.server import Server
    from tiednmt.translation.loading import load_translator

    translator = load_translator(
        args.models, args.data, int8=args.int8 or None, cpu=args.cpu, attention=True
    )
    with translator:
        try:
            server = Server((args.host, args.port), Answers(translator))
        except OSError as error:
            raise UserError(
                f"--host {args.host} --port {args.port}: {error.strerror}; "
                "choose others (--port 0 takes a free one)"
            ) from error
        with server:
            print(f"{server.url} (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()


if __name__ == "__main__":
    main()
