"""The picture of the README."""

from scripts import model_size


def test_the_tie_maps_are_drawn(tmp_path, capsys):
    sizes = ["--arch", "tied_gru_tiny", "--source", "70", "--target", "80", "--joint", "90"]
    model_size.main([*sizes, "--picture", str(tmp_path / "new" / "tie-map")])
    assert "three-way: " in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"tie-map.svg", "tie-map.png"}
    assert "<svg" in (tmp_path / "new" / "tie-map.svg").read_text()
