"""Compiled kernels on disk: found again, told apart, never taken when damaged, never fatal."""

import threading
import warnings
from pathlib import Path

import pytest

from mambats_kernels.cuda import Source, cache, loader

TINY = 'extern "C" __global__ void fill(float* to) { to[threadIdx.x] = VALUE; }\n'


class FakeCompiler:
    """Gives what it was handed, and counts."""

    def __init__(self, version=(13, 0)):
        self.version, self.built = version, 0

    def target(self, capability):
        return f"sm_{capability[0]}{capability[1]}"

    def build(self, text, target, name):
        self.built += 1
        return f"{target}:{text}".encode()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", set())
    return tmp_path / "cache" / "mambats" / "kernels"


@pytest.fixture
def source(tmp_path):
    (tmp_path / "tiny.cu").write_text(TINY)
    return Source((str(tmp_path / "tiny.cu"),), (("VALUE", 3),), "fill")


def held(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_call_reads_what_the_first_compiled(source, own_cache):
    compiler = FakeCompiler()
    first = loader.image(source, (9, 0), compiler)
    assert loader.image(source, (9, 0), compiler) == first and compiler.built == 1
    assert len(held(own_cache)) == 1 and held(own_cache)[0].endswith(".cubin")
    assert (own_cache.stat().st_mode & 0o077) == 0, "others could put a kernel there"


def test_each_part_gives_another_key(source, own_cache):
    for made, capability, version in (
        (source, (9, 0), (13, 0)),
        (source, (8, 0), (13, 0)),
        (source, (9, 0), (13, 1)),
        (Source(source.files, (("VALUE", 4),), "fill"), (9, 0), (13, 0)),
    ):
        loader.image(made, capability, FakeCompiler(version))
    Path(source.files[0]).write_text(TINY + "\n")
    loader.image(source, (9, 0), FakeCompiler())
    assert len(held(own_cache)) == 5


def test_text_moved_to_the_next_part_gives_another_key():
    assert cache.key("ab", "c") != cache.key("a", "bc")


def flip(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize(
    "damage",
    [flip, lambda data: data[:-1], lambda data: data[:40], lambda data: b"", lambda data: b"\x7fELF" + data],
    ids=["flipped bit", "short", "no header", "empty", "foreign"],
)
def test_a_damaged_file_is_built_anew_and_said_once(source, own_cache, damage):
    compiler = FakeCompiler()
    whole = loader.image(source, (9, 0), compiler)
    path = next(own_cache.iterdir())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(RuntimeWarning, match="damaged or not one of ours") as said:
        assert loader.image(source, (9, 0), compiler) == whole
    path.write_bytes(damage(path.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loader.image(source, (9, 0), compiler) == whole
        assert loader.image(source, (9, 0), compiler) == whole
    assert len(said) == 1 and compiler.built == 3


def test_a_file_under_another_files_name_is_not_taken(source, own_cache):
    loader.image(source, (9, 0), FakeCompiler())
    old = next(own_cache.iterdir())
    other = Source(source.files, (("VALUE", 4),), "fill")
    loader.image(other, (9, 0), FakeCompiler())
    new = next(path for path in own_cache.iterdir() if path != old)
    new.write_bytes(old.read_bytes())
    with pytest.warns(RuntimeWarning, match="not one of ours"):
        assert b"VALUE 4" in loader.image(other, (9, 0), FakeCompiler())


def test_an_unwritable_folder_costs_only_the_cache(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAMBATS_CACHE", str(tmp_path / "file"))  # a file: not even root can make a folder in it
    compiler = FakeCompiler()
    with pytest.warns(RuntimeWarning) as said:
        first, second = loader.image(source, (9, 0), compiler), loader.image(source, (9, 0), compiler)
    assert first == second and compiler.built == 2
    assert [str(one.message).partition(":")[0] for one in said] == [
        "the cache of compiled kernels cannot be read, they are built anew",
        "compiled kernels cannot be kept, each process builds its own",
    ]


def test_a_failed_write_leaves_nothing_behind(source, own_cache, monkeypatch):
    def refuse(*_):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="no space left"):
        loader.image(source, (9, 0), FakeCompiler())
    assert held(own_cache) == []


def test_the_folder_is_the_users(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/someone")
    assert "xdg" not in str(cache.folder())
    monkeypatch.delenv("MAMBATS_CACHE")
    assert cache.folder() == Path("/xdg/mambats/kernels")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path("/someone/.cache/mambats/kernels")


def test_writers_and_readers_at_once_see_whole_files(own_cache):
    payloads = {cache.key(str(k)): bytes([k]) * 200_000 for k in range(2)}
    wrong, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            wrong.extend(name for name, whole in payloads.items() if cache.read(name) not in (None, whole))

    def write():
        for _ in range(30):
            for name, payload in payloads.items():
                cache.write(name, payload)

    reader, writers = threading.Thread(target=read), [threading.Thread(target=write) for _ in range(2)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not wrong and not cache._warned
    assert held(own_cache) == sorted(f"{name}.cubin" for name in payloads)
