"""The `loanloop` command: one line for each module of commands/.

A command module imports only typer, the standard library and what needs no more at its top, and the rest inside its
function: `loanloop --help` has to answer at once. A group of commands (`dlq list`) exposes `app`, a single one a
function.
"""

import sys
from typing import Annotated

import typer

from loanloop.commands import (
    audit,
    backup,
    bench,
    demo,
    dlq,
    keys,
    migrate,
    mlflow,
    models,
    page,
    passwords,
    produce,
    promote,
    replay,
    restore,
    retrain,
    rollback,
    status,
    topics,
    tune,
    unpin,
    up,
    watch,
)

app = typer.Typer(
    name="loanloop",
    help="Predicts loan default over Kafka and keeps its own model good.",
    epilog="Start with: loanloop up. Each command shows examples: loanloop COMMAND --help.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

# fmt: off
app.command()(up.up)
app.command()(demo.demo)
app.command()(status.status)
app.command()(watch.watch)
app.command()(page.page)
app.command()(produce.produce)
app.command()(models.models)
app.command()(retrain.retrain)
app.command()(tune.tune)
app.command()(promote.promote)
app.command()(rollback.rollback)
app.command()(unpin.unpin)
app.command()(replay.replay)
app.add_typer(dlq.app, name="dlq")
app.add_typer(keys.app, name="keys")
app.command()(audit.audit)
app.command()(backup.backup)
app.command()(restore.restore)
app.command()(migrate.migrate)
app.command()(topics.topics)
app.command()(passwords.passwords)
app.command()(mlflow.mlflow)
app.command()(bench.bench)
# fmt: on


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"loanloop {version('loanloop')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Exit codes: 0 done, 1 an error said in one sentence, 2 a wrong option, 130 stopped by Ctrl-C before it was done.

    A command that stays until Ctrl-C, such as `up`, `watch` or `page`, is done then: 0.
    """
    import logging

    from loanloop_common.errors import LoanloopError

    from loanloop.error_sentences import sentence_of

    # A library's warning without a handler goes to stderr as it is; the command says its errors itself.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        app()
    except LoanloopError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise  # a mistake of ours: its traceback tells where
        print(f"Error: {sentence}", file=sys.stderr)
        sys.exit(1)
