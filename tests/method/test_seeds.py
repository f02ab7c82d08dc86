"""Seeds: a generator is made only where it is drawn from."""

from sepo_lib.method import seeds


def test_a_later_generator_is_made_once_and_draws_the_same(monkeypatch):
    made, generator = [], seeds.generator
    monkeypatch.setattr(seeds, "generator", lambda *path: made.append(path) or generator(*path))
    later = seeds.Later(7, "opponent", 2)
    assert made == []
    drawn = [later.random(), later.integers(10), later.random()]
    assert made == [(7, "opponent", 2)]
    same = generator(7, "opponent", 2)
    assert drawn == [same.random(), same.integers(10), same.random()]
