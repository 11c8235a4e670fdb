import asyncio
import os
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from loanloop.backups.checking import MODELS, check_backup
from loanloop.backups.folder import UNFINISHED, FolderUnusable, backups_in, locked, remove, superfluous
from loanloop.backups.manifest import BackupUnusable, Table, of_another, read_manifest, write_manifest, write_sums
from loanloop.backups.portfolio_files import OtherPortfolio, copy_portfolio, portfolio_source, put_portfolio
from loanloop.backups.restoring import CannotRestore, refuse_unknown_schema, unread_in_words
from loanloop.backups.rows import RowFile
from loanloop.backups.tables import BOUND, parents_first
from loanloop.telling import counted
from loanloop_common.errors import LoanloopError
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import known_migrations
from loanloop_common.resources import resource_folder

from tests.support.backups import BEGUN, MANIFEST, taken


def test_the_newest_of_the_same_installation_are_kept() -> None:
    newest_first = [
        taken(9, begun_at=BEGUN + timedelta(days=2)),
        taken(5),
        taken(4, portfolio="own"),
        taken(3),
        taken(1),
    ]

    assert superfluous(newest_first, MANIFEST, 2) == [taken(1)]
    assert superfluous(newest_first, MANIFEST, 1) == [taken(3), taken(1)]
    assert superfluous(newest_first, MANIFEST, 3) == []


@pytest.mark.parametrize(
    ("n_undecided", "said"),
    [
        (0, "shortly before the backup: each loan"),
        (1, "shortly before the backup, and the 1 stored loan without a decision: each loan"),
        (2_000, "shortly before the backup, and the 2,000 stored loans without a decision: each loan"),
    ],
)
def test_what_a_new_kafka_lacks_is_to_be_sent_again(n_undecided: int, said: str) -> None:
    assert said in unread_in_words(n_undecided)


def test_one_is_no_plural() -> None:
    assert [counted(n, "model") for n in (0, 1, 2_000)] == ["0 models", "1 model", "2,000 models"]


def test_one_backup_at_a_time_is_written_into_a_folder_and_what_was_left_unfinished_goes(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}1").mkdir()
    with locked(tmp_path, print):
        assert list(tmp_path.glob(f"{UNFINISHED}*")) == []
        with pytest.raises(FolderUnusable, match="another backup is being written"), locked(tmp_path, print):
            pass
    with locked(tmp_path, print):
        pass


def test_what_goes_wrong_while_a_folder_is_locked_is_no_other_backup(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="of the body"), locked(tmp_path, print):
        raise BlockingIOError("of the body")


def test_a_table_comes_after_those_it_refers_to() -> None:
    ordered = parents_first(["a", "b", "c", "d"], [("a", "c"), ("c", "d"), ("a", "b")])

    assert ordered.index("d") < ordered.index("c") < ordered.index("a")
    assert ordered.index("b") < ordered.index("a")
    with pytest.raises(LoanloopError, match="in a circle: a, b"):
        parents_first(["a", "b"], [("a", "b"), ("b", "a")])


@pytest.mark.parametrize(
    ("bound", "taken"),
    [
        ("FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')", True),
        ("DEFAULT", True),
        ("FOR VALUES FROM ('2026-11-01') TO ('2026-12-01'); DROP SCHEMA loan_data CASCADE", False),
        ("FOR VALUES FROM ('x') TO (pg_sleep(9))", False),
    ],
)
def test_only_bounds_become_a_statement(bound: str, taken: bool) -> None:
    assert bool(BOUND.fullmatch(bound)) is taken


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)

    assert read_manifest(tmp_path) == MANIFEST


@pytest.mark.parametrize(
    ("content", "said"), [('{"format": 2}', "of format 2, and this loanloop reads format 1"), ("{", "cannot be read")]
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(BackupUnusable, match=said):
        read_manifest(tmp_path)


def test_a_backup_that_cannot_be_read_is_told_of_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "loanloop-sba-1" / "manifest.json").mkdir(parents=True)  # reading it is refused to root as well
    (tmp_path / "loanloop-sba-2").mkdir()
    write_manifest(tmp_path / "loanloop-sba-2", MANIFEST)

    kept, broken = backups_in(tmp_path)

    assert [one.path.name for one in kept] == ["loanloop-sba-2"]
    assert broken == [f"{tmp_path}/loanloop-sba-1 cannot be read (Is a directory)."]


def test_whose_a_backup_is_and_how_it_becomes_ones_own_is_told_where_it_is_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    assert of_another(tmp_path) == (
        f": it is user {owner}'s and this is user {owner + 1}; as root run `chown -R {owner + 1} {tmp_path}`"
    )


def test_what_cannot_be_removed_is_told_and_stops_no_backup(tmp_path: Path) -> None:
    old = tmp_path / "loanloop-sba-1"
    (tmp_path / f".removing-{old.name}" / "held").mkdir(parents=True)
    (tmp_path / ".unfinished-1").write_text("no folder, which rmtree refuses")
    old.mkdir()
    told: list[str] = []

    assert not remove(old, told.append)
    with locked(tmp_path, told.append):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".unfinished-1", old.name]

    assert told == [
        f"Warning: {old} stays, as it cannot be removed (Directory not empty).",
        f"Warning: {tmp_path}/.unfinished-1 stays, as it cannot be removed (Not a directory).",
    ]
    assert remove(old, told.append)


@pytest.mark.parametrize("columns", [None, ["version", "bundle"]])
def test_a_manifest_that_lacks_the_models_is_not_as_it_was_written(tmp_path: Path, columns: list[str] | None) -> None:
    rows = RowFile(tmp_path / "rows.gz", lambda _: None)
    sha256 = asyncio.run(rows.close())
    name = MODELS if columns else "alerts"
    table = Table(name=name, columns=columns or [], file="rows.gz", n_rows=0, n_bytes=0, sha256=sha256)
    write_manifest(tmp_path, msgspec.structs.replace(MANIFEST, tables=[table]))
    write_sums(tmp_path, {"rows.gz": sha256})

    with pytest.raises(BackupUnusable, match=r"manifest\.json must name one table model_metadata with the columns "):
        check_backup(tmp_path, lambda _: None)


def test_a_backup_of_a_newer_schema_is_refused_and_an_older_one_is_not() -> None:
    refuse_unknown_schema(msgspec.structs.replace(MANIFEST, migrations=known_migrations()[:3]))
    with pytest.raises(CannotRestore, match="has schema version 9999_later and this loanloop knows"):
        refuse_unknown_schema(msgspec.structs.replace(MANIFEST, migrations=[*known_migrations(), "9999_later"]))


def test_a_portfolio_file_comes_back_with_what_it_extends(tmp_path: Path) -> None:
    preset = resource_folder("portfolios") / "sba" / "sba.toml"
    (tmp_path / "mine" / "own").mkdir(parents=True)
    (tmp_path / "mine" / "base.toml").write_text(preset.read_text())
    source = tmp_path / "mine" / "own" / "mine.toml"
    source.write_text('extends = "../base.toml"\nname = "mine"\n')
    (tmp_path / "backup").mkdir()

    copies = copy_portfolio(str(source), tmp_path / "backup")
    back = put_portfolio(tmp_path / "backup", next(iter(copies)), tmp_path / "new")

    assert list(copies) == ["portfolio/own/mine.toml", "portfolio/base.toml"]
    assert load_portfolio(back) == load_portfolio(source)


def test_of_a_preset_the_name_is_enough_and_another_portfolio_is_refused(tmp_path: Path) -> None:
    sba = load_portfolio("sba")

    assert copy_portfolio("sba", tmp_path) == {}
    assert portfolio_source("sba", "sba", sba.schema_hash) == "sba"
    assert portfolio_source("sba_application", "sba", sba.schema_hash) == "sba"
    with pytest.raises(OtherPortfolio, match="serves portfolio 'sba', and sba is not the file it was begun with"):
        portfolio_source("sba", "sba", "of other features")
