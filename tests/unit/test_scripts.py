"""The scripts that fetch and prepare public corpora, on small archives laid out like the originals."""

import gzip
import importlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hat.cli import prepare as hat_prepare

ROOT = Path(__file__).parents[2]
pytest.importorskip("sacremoses")


@pytest.fixture(scope="module", autouse=True)
def scripts() -> None:
    folder = str(ROOT / "scripts")
    if folder not in sys.path:
        sys.path.insert(0, folder)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("the network was used"))


def tar_gz(path: Path, members: dict[str, str | bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as tar:
        for name, text in members.items():
            data = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def sgm(*segments: str) -> str:
    body = "\n".join(f'<seg id="{number}">{text}</seg>' for number, text in enumerate(segments, 1))
    return f'<refset setid="x" srclang="any">\n<doc docid="d">\n<p>\n{body}\n</p>\n</doc>\n</refset>\n'


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def run(script: str, *arguments: object) -> int:
    module = importlib.import_module(f"prepare_{script}")
    return int(module.run([str(argument) for argument in ("--workers", 1, *arguments)]))


def long_text(language: str, count: int) -> str:
    return "".join(f"{language} sentence number {number} has words.\n" for number in range(1, count + 1))


@pytest.fixture
def iwslt(tmp_path: Path) -> Path:
    """An IWSLT archive: metadata, a title, 50 sentences, one too long and one of unequal length."""
    head = "<url>http://x</url>\n<keywords>talks</keywords>\n<talkid>1</talkid>\n<title>Ein Titel: {}</title>\n"
    members: dict[str, str | bytes] = {}
    for language, extra in (
        ("de", "Kurz.\n" + "w " * 176 + "\n"),
        ("en", "Far too long for it.\n" + "w " * 176 + "\n"),
    ):
        members[f"de-en/train.tags.de-en.{language}"] = head.format(language) + long_text(language, 50) + extra
        for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
            text = f'<?xml version="1.0"?>\n<mteval>\n{sgm(f" {name} It’s &quot;so&quot; &amp; more. ")}</mteval>\n'
            members[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = text
    folder = tmp_path / "given"
    folder.mkdir()
    tar_gz(folder / "de-en.tgz", members)
    return folder


def test_iwslt(iwslt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "corpora"
    assert run("iwslt14_deen", "--from", iwslt, "--output", output) == 0
    assert capsys.readouterr().out.strip() == str(output / "tok")
    train, valid = lines(output / "tok/train.de.gz"), lines(output / "tok/valid.de.gz")
    # The title and 50 sentences; the 23rd and the 46th pair are held out.
    assert train[0] == "ein titel : de"
    assert valid == ["de sentence number 22 has words .", "de sentence number 45 has words ."]
    assert len(train) == 51 - 2 and not set(valid) & set(train)
    assert [line.replace("de", "en", 1) for line in valid] == lines(output / "tok/valid.en.gz")
    test = lines(output / "tok/test.en.gz")
    assert [line.split()[0] for line in test] == [
        "ted.dev2010", "tedx.dev2012", "ted.tst2010", "ted.tst2011", "ted.tst2012",
    ]  # fmt: skip
    assert test[0] == "ted.dev2010 it &apos;s &quot; so &quot; &amp; more ."


def test_number_of_processes_changes_nothing_and_headers_hold_no_time(iwslt: Path, tmp_path: Path) -> None:
    assert run("iwslt14_deen", "--from", iwslt, "--output", tmp_path / "one") == 0
    assert run("iwslt14_deen", "--from", iwslt, "--output", tmp_path / "two", "--workers", 2) == 0
    names = sorted(path.name for path in (tmp_path / "one/tok").iterdir())
    assert names == sorted(
        f"{split}.{language}.gz" for split in ("train", "valid", "test") for language in ("de", "en")
    )
    for name in names:
        first = (tmp_path / "one/tok" / name).read_bytes()
        assert first == (tmp_path / "two/tok" / name).read_bytes()
        assert first[3:8] == b"\0\0\0\0\0"


def test_finished_files_are_kept_and_missing_ones_made(iwslt: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpora"
    assert run("iwslt14_deen", "--from", iwslt, "--output", output) == 0
    test, valid = output / "tok/test.de.gz", output / "tok/valid.en.gz"
    test.write_bytes(b"kept")
    expected = valid.read_bytes()
    valid.unlink()
    assert run("iwslt14_deen", "--from", iwslt, "--output", output) == 0
    assert test.read_bytes() == b"kept"
    assert valid.read_bytes() == expected


def test_unpacked_files_do_as_well_as_an_archive(iwslt: Path, tmp_path: Path) -> None:
    with tarfile.open(iwslt / "de-en.tgz") as tar:
        for member in tar.getmembers():
            path = tmp_path / "loose" / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    assert run("iwslt14_deen", "--from", tmp_path / "loose", "--output", tmp_path / "a") == 0
    assert run("iwslt14_deen", "--from", iwslt, "--output", tmp_path / "b") == 0
    for path in (tmp_path / "a/tok").iterdir():
        assert path.read_bytes() == (tmp_path / "b/tok" / path.name).read_bytes()


@pytest.fixture
def wmt14_ende(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    for archive, stem in (
        ("training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en"),
        ("training-parallel-commoncrawl.tgz", "commoncrawl.de-en"),
        ("training-parallel-nc-v11.tgz", "training-parallel-nc-v11/news-commentary-v11.de-en"),
    ):
        name = stem.rpartition("/")[2]
        english = f"He said: “{name}” – a well-known\u00adthing…\n\nbroken\n"
        german = f"Er sagte: „{name}“ – etwas Bekanntes…\nnichts dazu\nkaputt\n"
        members: dict[str, str | bytes] = {
            f"{stem}.en": english.encode().replace(b"broken", b"br\xffken"),
            f"{stem}.de": german,
            f"{stem.replace('de-en', 'fr-en')}.fr": "autre",
        }
        tar_gz(folder / archive, members)
    tar_gz(folder / "dev.tgz", {"dev/newstest2013.en": "Valid one.\n", "dev/newstest2013.de": "Prüfung eins.\n"})
    test = {
        "test-full/newstest2014-deen-src.en.sgm": sgm("A test &amp; more.", "Two."),
        "test-full/newstest2014-deen-ref.de.sgm": sgm("Ein Test\nund mehr.", "Er sagte: „zwei“ – gut…"),
    }
    tar_gz(folder / "test-full.tgz", dict(test))
    return folder


def test_wmt14_ende_normalises_cleans_and_keeps_hyphens(wmt14_ende: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpora"
    assert run("wmt14_ende", "--from", wmt14_ende, "--output", output) == 0
    english, german = lines(output / "tok/train.en.gz"), lines(output / "tok/train.de.gz")
    # Of each text one pair is left: the others have an empty side or are not UTF-8.
    assert len(english) == len(german) == 3
    assert english[0] == "He said : &quot; europarl-v7.de-en &quot; - a well-known thing ..."
    assert german[0] == "Er sagte : &quot; europarl-v7.de-en &quot; - etwas Bekanntes ..."
    assert lines(output / "tok/valid.de.gz") == ["Prüfung eins ."]
    assert lines(output / "tok/test.en.gz") == ["A test &amp; more .", "Two ."]
    # What BLEU is computed against is split into words, and otherwise as it was written.
    assert lines(output / "tok/test.de.gz") == ["Ein Test und mehr .", "Er sagte : „ zwei “ – gut …"]
    assert lines(output / "raw/test.de.gz") == ["Ein Test und mehr.", "Er sagte: „zwei“ – gut…"]


def test_wmt14_enfr_splits_hyphens_and_reads_gzipped_members(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    pair = {"en": "a well-known rule of law\n", "fr": "une règle bien-connue du droit\n"}
    for archive, stem in (
        ("training-parallel-europarl-v7.tgz", "training/europarl-v7.fr-en"),
        ("training-parallel-commoncrawl.tgz", "commoncrawl.fr-en"),
        ("training-parallel-un.tgz", "un/undoc.2000.fr-en"),
        ("training-parallel-nc-v9.tgz", "training/news-commentary-v9.fr-en"),
    ):
        tar_gz(folder / archive, {f"{stem}.{language}": text for language, text in pair.items()})
    giga = {f"giga-fren.release2.fixed.{code}.gz": gzip.compress(text.encode()) for code, text in pair.items()}
    tar_gz(folder / "training-giga-fren.tar", dict(giga))
    dev = {f"dev/newstest{year}.{code}": f"{year} {code}\n" for year in (2012, 2013) for code in ("en", "fr")}
    tar_gz(folder / "dev.tgz", dict(dev))
    test = {
        "test-full/newstest2014-fren-src.en.sgm": sgm("One."),
        "test-full/newstest2014-fren-ref.fr.sgm": sgm("Un."),
    }
    tar_gz(folder / "test-full.tgz", dict(test))
    assert run("wmt14_enfr", "--from", folder, "--output", tmp_path / "out") == 0
    assert lines(tmp_path / "out/tok/train.en.gz") == ["a well @-@ known rule of law"] * 5
    assert lines(tmp_path / "out/tok/valid.fr.gz") == ["2012 fr", "2013 fr"]


def test_wmt19_reads_tables_and_zip(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name in ("europarl-v9.de-en.tsv.gz", "news-commentary-v14.de-en.tsv.gz", "wikititles-v1.de-en.tsv.gz"):
        text = f"Deutsch aus {name[:5]}\tEnglish from {name[:5]}\nallein\n"
        (folder / name).write_bytes(gzip.compress(text.encode()))
    (folder / "en-de.bicleaner07.txt.gz").write_bytes(gzip.compress(b"English from crawl\tDeutsch aus crawl\n"))
    tar_gz(folder / "training-parallel-commoncrawl.tgz", {"commoncrawl.de-en.en": "x\n", "commoncrawl.de-en.de": "y\n"})
    with zipfile.ZipFile(folder / "rapid2019.de-en.zip", "w") as archive:
        archive.writestr("rapid2019.de-en.de", "Deutsch\n")
        archive.writestr("rapid2019.de-en.en", "English\n")
    dev = {}
    for year in (2017, 2018):
        dev[f"dev/newstest{year}-ende-src.en.sgm"] = sgm(f"English {year}")
        dev[f"dev/newstest{year}-ende-ref.de.sgm"] = sgm(f"Deutsch {year}")
    tar_gz(folder / "dev.tgz", dict(dev))
    assert run("wmt19_ende", "--from", folder, "--output", tmp_path / "out") == 0
    assert lines(tmp_path / "out/tok/train.en.gz") == [
        "English from europ", "English from crawl", "x", "English from news-", "English from wikit", "English",
    ]  # fmt: skip
    assert lines(tmp_path / "out/tok/train.de.gz")[1] == "Deutsch aus crawl"
    assert lines(tmp_path / "out/tok/test.de.gz") == ["Deutsch 2018"]


def multi30k_files() -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {}
    for name in ("train", "val", "test_2016_flickr", "test_2017_flickr"):
        for language in ("en", "de", "fr"):
            files[f"dataset-a3d2e0d2/data/task1/tok/{name}.lc.norm.tok.{language}"] = f"{language} {name}  \xa0x .\n"
            files[f"dataset-a3d2e0d2/data/task1/raw/{name}.{language}"] = f"{language.upper()} {name}  \xa0x’.\n"
    return files


def test_multi30k_is_copied_unchanged_where_its_config_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tar_gz(tmp_path / "multi30k-a3d2e0d2.tar.gz", multi30k_files())
    assert run("multi30k", "--from", ".") == 0
    assert lines(tmp_path / "corpora/multi30k/tok/train.lc.norm.tok.en.gz") == ["en train  \xa0x ."]
    assert lines(tmp_path / "corpora/multi30k/raw/test_2016_flickr.de.gz") == ["DE test_2016_flickr  \xa0x’."]
    capsys.readouterr()
    assert hat_prepare.main([str(ROOT / "configs/multi30k/prepare.yaml"), "--dry-run"]) == 0
    named = [word.strip("[],") for word in capsys.readouterr().out.split() if "corpora/" in word]
    assert len(named) == 10
    assert all((tmp_path / name).is_file() for name in named)


def test_multi30k_from_the_real_files(multi30k: Path, tmp_path: Path) -> None:
    assert run("multi30k", "--from", multi30k, "--output", tmp_path) == 0
    made = sorted((tmp_path / "tok").iterdir())
    made += sorted((tmp_path / "raw").iterdir())
    assert len(made) == 10
    for path in made:
        original = multi30k / path.relative_to(tmp_path)
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(original.read_bytes())


@pytest.mark.parametrize("name", ["iwslt14_deen", "wmt14_ende", "wmt14_enfr", "wmt19_ende", "multi30k"])
def test_configs_name_the_files_that_the_scripts_write(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from corpora import split_paths

    corpus = importlib.import_module(f"prepare_{name}").CORPUS
    written = {str(path) for path in split_paths(corpus, Path("corpora") / name)}
    monkeypatch.chdir(ROOT)
    assert hat_prepare.main([f"configs/{name}/prepare.yaml", "--dry-run"]) == 0
    assert {word.strip("[],") for word in capsys.readouterr().out.split() if "corpora/" in word} == written
    assert all(url.startswith(("http://", "https://")) for url in corpus.downloads.values())
    assert {part.archive for split in corpus.splits for part in split.parts} == set(corpus.downloads)


# faults


def error_of(capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert status == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("prepare_")
    return last


def test_missing_archive_is_named_with_its_address(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    (wmt14_ende / "dev.tgz").unlink()
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "must hold dev.tgz or, unpacked from it, newstest2013.de, newstest2013.en" in error
    assert "download http://www.statmt.org/wmt14/dev.tgz" in error


def test_given_must_be_a_folder(tmp_path: Path, capsys: Any) -> None:
    error = error_of(capsys, run("multi30k", "--from", tmp_path / "nowhere", "--output", tmp_path / "out"))
    assert "nowhere: must be the folder that holds the downloaded files" in error


@pytest.mark.parametrize("lost_bytes", [1, 40, 200])
def test_truncated_archive(lost_bytes: int, wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    archive = wmt14_ende / "training-parallel-nc-v11.tgz"
    archive.write_bytes(archive.read_bytes()[:-lost_bytes])
    output = tmp_path / "out"
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", output))
    assert "training-parallel-nc-v11.tgz: must be a complete tar or zip archive, is damaged or truncated" in error
    assert not list((output / "tok").glob("*train*")), "nothing half-made is left"
    assert not list((output / "unpacked").glob("*v11*")), "nor is anything of the archive"
    assert "is damaged or truncated" in error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", output))
    assert (output / "tok/valid.en.gz").exists(), "what was finished stays"


def test_archive_with_a_wrong_checksum(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    data = bytearray((wmt14_ende / "dev.tgz").read_bytes())
    data[-8] ^= 1
    (wmt14_ende / "dev.tgz").write_bytes(data)
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "dev.tgz: must be a complete tar or zip archive" in error


def test_no_archive_at_all(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    (wmt14_ende / "dev.tgz").write_text("<html>Not found</html>")
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "dev.tgz: must be a complete tar or zip archive" in error


def test_archive_without_the_file(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    tar_gz(wmt14_ende / "dev.tgz", {"dev/newstest2012.en": "x\n", "dev/newstest2013.en": "x\n"})
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "dev.tgz: must hold newstest2013.de, does not" in error


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "/etc/evil.txt", "dev/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
def test_paths_that_lead_outside_are_refused(name: str, wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    files: dict[str, str | bytes] = {"dev/newstest2013.en": "x\n", "dev/newstest2013.de": "x\n", name: "evil"}
    tar_gz(wmt14_ende / "dev.tgz", files)
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "dev.tgz: must not hold paths that lead outside" in error
    assert not list(tmp_path.parent.rglob("evil.txt"))


def test_links_are_not_followed(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    with tarfile.open(wmt14_ende / "dev.tgz", "w:gz") as tar:
        for language in ("en", "de"):
            link = tarfile.TarInfo(f"dev/newstest2013.{language}")
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(link)
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "dev.tgz: must hold newstest2013.de, newstest2013.en, does not" in error


def test_unequal_line_counts(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    tar_gz(wmt14_ende / "dev.tgz", {"dev/newstest2013.en": "a\nb\n", "dev/newstest2013.de": "a\nb\nc\nd\n"})
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "must have equally many lines, have 2 and 4" in error


@pytest.mark.parametrize(
    ("english", "message"),
    [(b"", "must hold sentence pairs, are empty"), (b"\xff\xfe\n", "line 1: must be UTF-8 text")],
)
def test_bad_evaluation_text(english: bytes, message: str, wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    german = b"eins\n" if english else b""
    tar_gz(wmt14_ende / "dev.tgz", {"dev/newstest2013.en": english, "dev/newstest2013.de": german})
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert message in error


def test_test_set_without_segments(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    for language, side in (("en", "src"), ("de", "ref")):
        (wmt14_ende / f"newstest2014-deen-{side}.{language}.sgm").write_text("<html></html>")
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "must hold <seg> elements, holds none" in error


def test_training_text_of_which_nothing_is_left(wmt14_ende: Path, tmp_path: Path, capsys: Any) -> None:
    for stem in ("europarl-v7.de-en", "commoncrawl.de-en", "news-commentary-v11.de-en"):
        (wmt14_ende / f"{stem}.en").write_text("one\n")
        (wmt14_ende / f"{stem}.de").write_text("eins zwei drei vier\n")
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "must hold sentence pairs" in error and "3" in error


def test_sacremoses_missing(wmt14_ende: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    error = error_of(capsys, run("wmt14_ende", "--from", wmt14_ende, "--output", tmp_path / "out"))
    assert "sacremoses, which is not installed; pip install sacremoses" in error


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_bad_number_of_workers(workers: str, tmp_path: Path, capsys: Any) -> None:
    status = run("multi30k", "--workers", workers, "--output", tmp_path)
    assert "must be a whole number of at least 1" in error_of(capsys, status)


def test_help_has_an_example(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        run("multi30k", "--help")
    assert stop.value.code == 0
    assert "example: python scripts/prepare_multi30k.py" in capsys.readouterr().out


def test_cleaning_rules() -> None:
    from corpora_text import CleanRules

    rules = CleanRules(min_words=1, max_words=6, max_ratio=1.5)
    assert rules.reason("a b c", "a b") is None  # exactly 1.5
    assert rules.reason("a b c d", "a b") == "length ratio"
    assert rules.reason("a b c d e f", "a b c d e f") is None
    assert rules.reason("a b c d e f g", "a b c d e f") == "too long"
    assert rules.reason("", "a") == "too short"


def test_without_a_folder_archives_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(url: str, path: Path) -> None:
        fetched.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        tar_gz(path, multi30k_files())

    monkeypatch.setattr("corpora_sources.download", fetch)
    output = tmp_path / "out"
    assert run("multi30k", "--output", output) == 0
    assert lines(output / "tok/val.lc.norm.tok.de.gz") == ["de val  \xa0x ."]
    (output / "tok/val.lc.norm.tok.de.gz").unlink()
    assert run("multi30k", "--output", output) == 0
    assert fetched == ["https://github.com/multi30k/dataset/archive/a3d2e0d2.tar.gz"]
    assert (output / "downloads/multi30k-a3d2e0d2.tar.gz").is_file()
