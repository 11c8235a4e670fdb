"""Where Kafka's jars come from: KAFKA_HOME, else the cache, else Maven, else Apache's own tarball."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings
from loanloop.telling import Tell

POM = Path(__file__).with_name("kafka-pom.xml")
VERSION = re.findall(r"<version>([^<]+)</version>", POM.read_text())[1]
MAVEN_WITHIN_S = 600


def kafka_jars(settings: RuntimeSettings, progress: Tell) -> Path:
    """The folder with Kafka's jars, downloaded once. Raises CannotRun if no source has them."""
    if settings.kafka_home:
        return _installed(settings.kafka_home / "libs")
    pinned = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    cached = settings.cache_home / "loanloop" / f"kafka-{VERSION}-{pinned}"
    if not cached.is_dir():
        _download(cached, settings, progress)
    return cached


def _installed(jars: Path) -> Path:
    if not list(jars.glob("kafka_2.13-*.jar")):
        raise CannotRun(f"KAFKA_HOME has no Kafka in {jars}: unset it, or let it name an unpacked Apache Kafka.")
    return jars


def _download(cached: Path, settings: RuntimeSettings, progress: Tell) -> None:
    try:
        with _draft_of(cached) as draft:
            if shutil.which("mvn"):
                try:
                    _from_maven(draft, progress)
                    return
                except CannotRun as failure:
                    progress(f"{failure}; trying Apache's own archive")
            _from_tarball(draft, settings.kafka_download_url.format(version=VERSION), progress)
    except OSError as error:
        raise CannotRun(
            f"Kafka {VERSION} could not be downloaded ({error}): install Maven or connect to the Internet, "
            "or set KAFKA_HOME to an unpacked Apache Kafka."
        ) from error


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """A folder that becomes `folder` in one step if all goes well; of two at a time the second is dropped."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kafka-") as parent:
        draft = Path(parent) / "jars"
        draft.mkdir()
        yield draft
        if not folder.is_dir():
            draft.rename(folder)


def _from_maven(draft: Path, progress: Tell) -> None:
    progress(f"Kafka {VERSION}: Maven downloads the jars (about 55 MB)")
    with subprocess.Popen(
        [
            "mvn",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={draft}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=draft,
    ) as maven:
        said = _follow(maven, progress)
        if maven.wait(timeout=MAVEN_WITHIN_S) != 0:
            raise CannotRun(f"Maven could not download Kafka ({said})")
    progress(f"Kafka {VERSION}: {len(list(draft.glob('*.jar')))} jars")


def _follow(maven: subprocess.Popen[str], progress: Tell) -> str:
    """Tells of every tenth jar; returns Maven's first error."""
    n_jars = 0
    errors: deque[str] = deque(maxlen=50)
    for line in maven.stdout or ():
        if line.startswith("[ERROR]"):
            errors.append(line.removeprefix("[ERROR]").strip()[:200])
        elif re.match(r"(\[INFO\] )?Downloaded .*\.jar", line):
            n_jars += 1
            if n_jars % 10 == 0:
                progress(f"Kafka {VERSION}: {n_jars} jars downloaded")
    return errors[0] if errors else "no error given"


def _from_tarball(draft: Path, url: str, progress: Tell) -> None:
    progress(f"Kafka {VERSION}: downloading {url}")
    expected = _sha512(url + ".sha512")
    with tempfile.TemporaryFile(dir=draft.parent) as file:
        actual = _fetch(url, file, progress)
        if actual != expected:
            raise URLError(f"{url} has SHA-512 {actual[:16]}…, but {expected[:16]}… was published")
        file.seek(0)
        _unpack_jars(file, draft)


def _unpack_jars(archive: IO[bytes], draft: Path) -> None:
    with tarfile.open(fileobj=archive) as tarball:
        for member in tarball:
            path = Path(member.name)
            if path.suffix == ".jar" and path.parent.name == "libs" and (jar := tarball.extractfile(member)):
                with jar, (draft / path.name).open("wb") as unpacked:
                    shutil.copyfileobj(jar, unpacked)


def _sha512(url: str) -> str:
    """Apache writes either `HASH  name` or `name: HASH` with the hash in groups over several lines."""
    with urlopen(url, timeout=20) as response:  # noqa: S310 - a constant of ours or an operator's setting
        text = response.read(4096).decode()
    digits = "".join(re.findall(r"\b[0-9a-fA-F]{4,128}\b", text.partition(":")[2] or text))
    return digits.lower()[:128]


def _fetch(url: str, file: IO[bytes], progress: Tell) -> str:
    digest = hashlib.sha512()
    n_bytes = 0
    with urlopen(url, timeout=20) as response:  # noqa: S310 - as above
        while block := response.read(1 << 20):
            file.write(block)
            digest.update(block)
            n_bytes += len(block)
            if n_bytes % (10 << 20) < len(block):
                progress(f"Kafka {VERSION}: {n_bytes >> 20} MB downloaded")
    return digest.hexdigest()
