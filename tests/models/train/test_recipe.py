"""Recipes: what they say is what is read, and mistakes are named."""

from __future__ import annotations

import pytest
import yaml

from falconet.isa import FalconetError
from falconet_models.datasets import Digits
from falconet_models.train.recipe import BOX_KINDS, Recipe, builtin, choose

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
    ("epochs: -1", "epochs: -1: input should be greater than or equal to 0"),
    ("epochs: 1" + "0" * 30, "more than 18 digits"), ("epochs: 3000000", "less than or equal to"),
    ("rate: .nan", "rate: nan: input should be a finite number"),
    ("rate: .inf", "rate: inf: input should be a finite number"),
    ("rate: 0", "rate: 0: input should be greater than 0"), ("rate: 100", "rate: 100:"),
    ("rate: '0.1'", "rate: '0.1': input should be a valid number"), ("seed: true", "seed: True:"),
    ("batch: 1e12", "batch: 1000000000000.0"), ("batch: 1000000000000", "less than or equal to"),
    ("threads: -5", "threads: -5"), ("workers: 100000", "workers: 100000"),
    ("augment: {mosaic: 5}", "augment.mosaic: 5"), ("augment: {mosiac: 1}", "there are mosaic, "),
    ("scales: [2, 1]", "the least is more than the greatest"),
    ("assign: {options: {top: .nan}}", "assign.options.top: nan"), ("start: 3", "start: 3"),
    ("rate: 0.1\nrate: 0.2", ":2: the key 'rate' is there twice"),
    ("fields: {size: [96]}", "fields: size.1"), ("fields: {size: 97}", "use multiples of 16"),
    ("fields: {size: 100000}", "less than or equal to 8192"), ("fields: 3", "fields: 3"),
    ("fields: {backbone: 3}", "fields: backbone: 3: input should be an object"),
    ("fields: {backbone: {width: wide}}", "backbone.width: 'wide'"),
    ("fields: {backbone: {width: .nan}}", "backbone.width: nan"),
    ("fields: {backbone: {repeats: 2.5}}", "backbone.repeats: 2.5"),
    ("fields: {backbone: {family: [1]}}", "backbone.family: [1]"),
    ("fields: {levels: [[1]]}", "fields: levels.0: [1]"), ("fields: {box: x}", "box 'x'"),
    ("fields: {labels: [a]}", "fields.labels: the data set names"), ("network: x", "network 'x'"),
    ("1: 2", "1: no such field"),
    ("ema: 1.5", "ema: 1.5"),
    ("boxes: {kind: giuo}", "'giuo' is unknown; did you mean 'giou'"),
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


def test_one_size_stands_for_both(tmp_path):
    (tmp_path / "r.yaml").write_text("fields: {size: 96}")
    assert Recipe.load(tmp_path / "r.yaml").config(("a",)).size == (96, 96)


def test_an_empty_recipe_has_the_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert Recipe.load(tmp_path / "r.yaml") == Recipe()


def test_a_missing_file_names_the_recipes(tmp_path):
    with pytest.raises(FalconetError, match="small-quick"):
        Recipe.load(tmp_path / "none.yaml")


def test_unknown_fields_of_the_network():
    with pytest.raises(FalconetError, match=r"backbone\.depth"):
        Recipe.from_dict({"fields": {"backbone": {"depth": 3}}}).config(("a",))
    with pytest.raises(FalconetError, match="network 'resnet'"):
        Recipe.from_dict({"network": "resnet"}).config(("a",))


def test_every_loss_of_boxes_has_a_name():
    from falconet_models.losses import BOX_LOSSES

    assert BOX_KINDS == tuple(BOX_LOSSES)


def test_the_recipe_goes_by_the_images():
    assert choose(Digits("test", 4, 96)) == "small"
    assert choose(Digits("test", 4, 320), quick=True) == "photo-quick"
