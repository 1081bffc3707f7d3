"""Recipes: what they say is what is read, and mistakes are named."""

from __future__ import annotations

import pytest
import yaml

from falconet.isa import FalconetError
from falconet_models.datasets import Digits
from falconet_models.train.recipe import Recipe, builtin, choose

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("name", builtin())
def test_builtin_recipes_are_whole(name, tmp_path):
    recipe = Recipe.load(name)
    recipe.save(tmp_path / "r.yaml")
    assert Recipe.load(tmp_path / "r.yaml") == recipe
    config = recipe.config(("ant", "bee"))
    assert config.labels == ("ant", "bee") and list(config.size) == recipe.fields["size"]


def test_all_fields_are_saved(tmp_path):
    Recipe().save(tmp_path / "r.yaml")
    said = yaml.safe_load((tmp_path / "r.yaml").read_text())
    assert {"seed", "rate", "assign", "boxes", "augment", "quantise", "distil"} <= set(said)
    assert said["augment"]["mosaic_epochs"] is None and said["boxes"]["kind"] == "ciou"


@pytest.mark.parametrize("text, said", [
    ("epoch: 3", "epoch: no such field"),
    ("epochs: many", "epochs: 'many'"),
    ("epochs: -1", "epochs: -1 is too little"),
    ("ema: 1.5", "ema: 1.5"),
    ("boxes: {kind: giuo}", "'giuo' is unknown; choose one of: iou"),
    ("boxes: {weigth: 1}", "boxes.weigth: no such field"),
    ("assign: {kind: best}", "assign.kind: 'best'"),
    ("- 1", "not a list of 'name: value'"),
    ("a: [1", ":1: malformed YAML"),
])
def test_mistakes_are_named(text, said, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(FalconetError) as e:
        Recipe.load(file)
    assert "wrong.yaml" in str(e.value) and said in str(e.value) and "\n" not in str(e.value)


def test_a_missing_file_names_the_recipes(tmp_path):
    with pytest.raises(FalconetError, match="small-quick"):
        Recipe.load(tmp_path / "none.yaml")


def test_unknown_fields_of_the_network():
    with pytest.raises(FalconetError, match=r"backbone\.depth"):
        Recipe.from_dict({"fields": {"backbone": {"depth": 3}}}).config(("a",))
    with pytest.raises(FalconetError, match="network 'resnet'"):
        Recipe.from_dict({"network": "resnet"}).config(("a",))


def test_the_recipe_goes_by_the_images():
    assert choose(Digits("test", 4, 96)) == "small"
    assert choose(Digits("test", 4, 320), quick=True) == "photo-quick"
