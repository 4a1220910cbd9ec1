"""Networks over banks: invariances, exact augmentation, splits, training, model files, and the two verbs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import inside, mistake
from PIL import Image

import polyfield
from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec, create
from polyfield.fields.field_file import save_field
from polyfield.files.tensors import read_tensors, tensors_to_bytes
from polyfield.process import augment
from polyfield.process.bank import UNIT, Bank, Entry, Manifest, placed, shard_of
from polyfield.process.figures import classification, confusion_of, part_iou, segmentation, wilson
from polyfield.process.inputs import inputs_of, inputs_of_field, is_of_spec
from polyfield.process.model_file import Model
from polyfield.process.networks.parts import PartNetwork, restricted
from polyfield.process.networks.registry import CLASSIFIERS, choice, new_classifier
from polyfield.process.networks.tokens import PUBLISHED, TokenNetwork, channels_of
from polyfield.process.recipes import FAST, plain, spec_of
from polyfield.process.refitting import refitted
from polyfield.process.splits import split_of
from polyfield.process.training import Training, classifier_loss, seeded, train
from polyfield.rendering.surfaces.points import surface_points

NODES, FEATURES, POINTS = 8, 4, 64
SPEC = FieldSpec.of("triplane", "sdf", UNIT, resolution=NODES, features=FEATURES)
RECIPE = plain(replace(FAST, steps=40, pool=4096, points=1024, options=SPEC.options))
TINY = {"width": 16, "layers": 1, "heads": 2, "feedforward": 16}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tables_of(kind: int, generator: torch.Generator) -> torch.Tensor:
    """Tables (3, R * R, F) whose channels are blobs in random order and strength, wide ones of kind 0, narrow ones of kind 1."""
    grid = torch.linspace(-1, 1, NODES)
    squares = (grid[:, None] ** 2 + grid**2).flatten()
    blob = (-squares / (0.8 if kind == 0 else 0.1)).exp()
    strength = torch.rand(3, 1, FEATURES, generator=generator) + 0.5
    return blob[:, None] * strength + 0.01 * torch.randn(3, NODES**2, FEATURES, generator=generator)


def make_bank(folder: Path, *, objects=30, splits=None, parts=False, repeat=None, labels=None) -> Path:
    """A bank of analytic planes of two kinds. repeat: a row and another one whose points it gets."""
    generator = torch.Generator().manual_seed(1)
    fields, entries, size = [], [], 8
    for k in range(objects):
        field = create(SPEC, seed=k)
        tables = tables_of(k % 2, generator)
        with torch.no_grad():
            for table, values in zip(field.encoding.tables, tables):
                table.copy_(values)
        fields.append(field.stored())
        label = k % 2 if labels is None else labels[k]
        entries.append(Entry(f"shape-{k}", label, splits[k] if splits else "", (1.0, 2.0, 3.0), 0.5))
    points = torch.rand(objects, POINTS, 3, generator=generator) * 2 - 1
    if repeat:
        points[repeat[0]] = points[repeat[1]]
    kinds = torch.arange(objects) % 2
    own = (points[..., 2] > 0).long() + 2 * kinds[:, None]  # halves of each category
    names = ("low", "high", "bottom", "top") if parts else ()
    manifest = Manifest(SPEC, objects, size, ("wide", "narrow"), names, RECIPE, {})
    for index, name in enumerate(manifest.names()):
        rows = manifest.rows(index)
        stored = {key: torch.stack([fields[row][key] for row in rows]) for key in fields[0]}
        some = slice(rows.start, rows.stop)
        shard = shard_of(entries[some], stored, points=points[some], parts=own[some] if parts else None)
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        shard.write(folder / "shards" / name)
    manifest.write(folder)
    return folder


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> Path:
    return make_bank(tmp_path_factory.mktemp("bank") / "two")


@pytest.fixture(scope="module")
def parts_bank(tmp_path_factory) -> Path:
    return make_bank(tmp_path_factory.mktemp("bank") / "parts", parts=True)


@pytest.fixture(scope="module")
def model(bank, tmp_path_factory) -> Path:
    """A trained network that tells the two kinds apart."""
    out = tmp_path_factory.mktemp("model") / "out"
    with polyfield.quiet():
        figures = polyfield.classify(bank, network="pointnet", epochs=15, out=out)
    assert figures["accuracy"] == 1
    return out / "model.safetensors"


@pytest.fixture(scope="module")
def parts_model(parts_bank, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("model") / "parts"
    with polyfield.quiet():
        figures = polyfield.segment(parts_bank, epochs=30, out=out)
    assert figures["instance_miou"] > 0.6
    return out / "model.safetensors"


# -- networks


def planes_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, FEATURES, NODES, NODES, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["transformer", "published", "pointnet"])
@torch.no_grad()
def test_networks_of_sets_do_not_depend_on_the_order_of_channels(name):
    planes = planes_of(2)
    order = torch.randperm(3 * FEATURES, generator=torch.Generator().manual_seed(3))
    permuted = planes.flatten(1, 2)[:, order].reshape(planes.shape)  # across planes too
    with seeded(0):
        network = new_classifier(choice(name), 5, planes).eval()
    assert torch.allclose(network(planes), network(permuted), atol=1e-5)
    assert torch.allclose(network.embedding(planes), network.embedding(permuted), atol=1e-5)
    assert not torch.allclose(network(planes), network(planes.flip(-1)), atol=1e-3)


def test_maps_do_not_depend_on_the_sign_of_a_channel():
    """The network behind the planes can undo it. Published maps keep it."""
    planes = planes_of(2) + 0.5
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None, None]
    assert torch.allclose(
        channels_of(planes, by_node=False), channels_of(planes * signs, by_node=False), atol=1e-6
    )
    published = channels_of(planes, by_node=True)
    assert torch.allclose(published.norm(dim=1), torch.full((2, NODES, NODES), (3 * FEATURES) ** 0.5))
    assert torch.allclose(published * signs.repeat(3, 1, 1), channels_of(planes * signs, by_node=True))


@torch.no_grad()
def test_the_convolutional_baseline_depends_on_it():
    planes = planes_of(2)
    with seeded(0):
        network = new_classifier(choice("cnn"), 5, planes).eval()
    assert not torch.allclose(network(planes), network(planes.flip(2)), atol=1e-3)


def test_the_published_network_has_its_size():
    network = TokenNetwork(classes=40, nodes=30, **PUBLISHED)
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(25.7e6, rel=0.01)


@torch.no_grad()
def test_parts_of_a_point_do_not_depend_on_other_points():
    with seeded(0):
        network = PartNetwork(categories=2, parts=4, nodes=NODES, **TINY).eval()
    planes, categories = planes_of(2), torch.tensor([0, 1])
    points = torch.rand(2, 9, 3) * 2 - 1
    alone = network(planes, points, categories)
    more = network(planes, torch.cat((torch.rand(2, 5, 3), points), 1), categories)
    assert torch.allclose(more[:, 5:], alone, atol=1e-5)
    order = torch.randperm(9)
    assert torch.allclose(network(planes, points[:, order], categories), alone[:, order], atol=1e-5)
    allowed = torch.tensor([[True, True, False, False], [False, False, True, True]])
    found = restricted(alone, categories, allowed).argmax(-1)
    assert (found[0] < 2).all() and (found[1] >= 2).all()


# -- augmentation


def field_of(planes: torch.Tensor):
    """The field of planes (1, 3, F, R, R), with the same network for all."""
    field = create(SPEC, seed=0)
    with torch.no_grad():
        for table, plane in zip(field.encoding.tables, planes[0]):
            table.copy_(plane.movedim(0, -1).flatten(0, 1))
    return field


POINTS_OF_TEST = torch.rand(300, 3, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("axis", range(3))
def test_flips_of_planes_are_those_of_the_field(axis):
    planes = planes_of(1)
    low, high = torch.zeros(1, 3), torch.ones(1, 3)
    low[0, axis], high[0, axis] = 1, 0
    moved = POINTS_OF_TEST.clone()
    moved[:, axis] *= -1
    found = field_of(augment.resampled(planes, (low, high))).raw_at(moved)
    assert torch.allclose(found, field_of(planes).raw_at(POINTS_OF_TEST), atol=1e-5)
    assert torch.allclose(augment.points_in(POINTS_OF_TEST[None], (low, high))[0], moved, atol=1e-6)


@pytest.mark.parametrize("up", range(3))
@pytest.mark.parametrize("quarters", range(1, 4))
def test_quarter_turns_of_planes_are_those_of_the_field(up, quarters):
    planes, moved = planes_of(1), POINTS_OF_TEST
    one, other = (up + 1) % 3, (up + 2) % 3
    for _ in range(quarters):
        columns = list(moved.unbind(1))
        columns[one], columns[other] = -moved[:, other], moved[:, one]
        moved = torch.stack(columns, 1)
    found = field_of(augment.turned(planes, quarters, up)).raw_at(moved)
    assert torch.allclose(found, field_of(planes).raw_at(POINTS_OF_TEST), atol=1e-5)


def test_parts_of_the_cube_are_the_same_in_all_planes():
    """At its nodes, the field of a part has the values of the whole field at the same points."""
    planes = planes_of(1)
    box = torch.tensor([[0.1, 0.9, 0.25]]), torch.tensor([[0.8, 0.3, 1.0]])
    nodes = torch.cartesian_prod(*[torch.linspace(-1, 1, NODES)] * 3)
    whole = (box[0] + (box[1] - box[0]) * (nodes + 1) / 2) * 2 - 1
    found = field_of(augment.resampled(planes, box)).raw_at(nodes)
    assert torch.allclose(found, field_of(planes).raw_at(whole), atol=1e-5)
    assert torch.allclose(augment.points_in(whole[None], box)[0], nodes, atol=1e-5)


def test_random_boxes_stay_in_the_cube_and_flip_the_axes_that_they_should():
    low, high = augment.random_boxes(200, torch.Generator().manual_seed(0), least=0.7, flips=(1,))
    sides = high - low
    assert (torch.minimum(low, high) >= 0).all() and (torch.maximum(low, high) <= 1 + 1e-6).all()
    assert (sides.abs() >= 0.7 - 1e-6).all() and (sides[:, [0, 2]] > 0).all()
    assert 60 < (sides[:, 1] < 0).sum() < 140


# -- splits and figures


def test_splits_are_by_class_and_by_hash(bank):
    opened = Bank(bank)
    split = split_of(opened, 0)
    assert sorted(split.train + split.val) == list(range(30)) and not split.test + split.repeated
    assert [opened.labels[split.val].tolist().count(label) for label in (0, 1)] == [3, 3]
    assert split_of(opened, 0) == split != split_of(opened, 1)
    assert split.held_out() == ("val", split.val) and split.held_out("all")[1] == list(range(30))
    with pytest.raises(PolyfieldError, match="'valid' is unknown; expected train, val, test or all"):
        split.held_out("valid")
    with pytest.raises(PolyfieldError, match="--split test: the bank has no objects in this split"):
        split.held_out("test")


def test_objects_with_the_same_points_are_on_the_same_side(tmp_path):
    for seed in range(6):
        folder = make_bank(tmp_path / str(seed), repeat=(4, 10))
        split = split_of(Bank(folder), seed)
        assert (4 in split.val) == (10 in split.val)


def test_a_split_of_the_source_is_kept_and_its_repetitions_are_left_out(tmp_path):
    splits = ["train"] * 20 + ["test"] * 10
    split = split_of(Bank(make_bank(tmp_path, splits=splits, repeat=(4, 25))), 0)
    assert split.repeated == [4] and 4 not in split.train and split.test == list(range(20, 30))
    assert split.held_out()[0] == "test"


def test_objects_without_a_class_are_in_no_part(tmp_path):
    labels = [None if k < 6 else k % 2 for k in range(30)]
    split = split_of(Bank(make_bank(tmp_path / "some", labels=labels)), 0)
    assert min(split.train + split.val) == 6
    with pytest.raises(PolyfieldError, match="the objects have no classes"):
        split_of(Bank(make_bank(tmp_path / "none", labels=[None] * 30)), 0)


def test_figures():
    assert wilson(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-3)
    confusion = confusion_of(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), 3)
    figures = classification(confusion, ("a", "b", "c"))
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert figures["accuracy"] == 0.75
    assert figures["accuracy_by_class"] == {"a": pytest.approx(2 / 3), "b": 1.0, "c": None}
    # Part 2 is neither there nor found, and counts 1; part 0 overlaps by a half.
    found, wanted = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
    assert part_iou(found, wanted, (0, 1, 2)) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    figures = segmentation([1.0, 0.5, 0.3], [0, 0, 1], ("a", "b"))
    assert figures["instance_miou"] == pytest.approx(0.6) and figures["class_miou"] == pytest.approx(0.525)


# -- training and model files


def trained(bank: Path, seed: int) -> bytes:
    opened = Bank(bank)
    inputs = inputs_of(opened, range(30), "planes")
    with seeded(seed):
        network = TokenNetwork(classes=2, nodes=NODES, **TINY)
    training = Training(epochs=2, batch=8)
    train(network, classifier_loss(network, inputs, opened.labels, training), range(20), training, seed=seed)
    return Model(network, opened.classes, (), (), opened.spec, {}, seed).to_bytes()


def test_the_same_seed_gives_the_same_bytes(bank):
    state = torch.get_rng_state()
    first = trained(bank, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)  # the global generator has no part in it
    assert trained(bank, 0) == first != trained(bank, 1)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "published"])
def test_a_model_file_gives_the_same_answers(name, bank, tmp_path):
    opened = Bank(bank)
    inputs = inputs_of(opened, range(30), choice(name).network.reads)
    with seeded(0):
        network = new_classifier(choice(name), 2, inputs)
    network.prepare(inputs)
    network.eval()
    path = tmp_path / "model.safetensors"
    Model(network, opened.classes, (), (), opened.spec, {"steps": 1}, 3).write(path)
    read = Model.read(path)
    assert torch.equal(read.network(inputs.float()), network(inputs.float()))
    assert (read.classes, read.spec, read.recipe, read.seed) == (opened.classes, SPEC, {"steps": 1}, 3)
    assert read.to_bytes() == path.read_bytes()


def changed(model: Path, path: Path, change) -> Path:
    """The file of a model whose metadata or tensors were changed, with a correct checksum."""
    tensors, metadata = read_tensors(model)
    plain = json.loads(metadata["model"])
    change(tensors, metadata, plain)
    path.write_bytes(tensors_to_bytes(tensors, metadata | {"model": json.dumps(plain)}))
    return path


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda t, m, p: m.update(format="polyfield-field"), "is not a trained network"),
        (lambda t, m, p: m.update(version="9"), "version '9'"),
        (lambda t, m, p: p.pop("seed"), "expected an object with valid kind, options"),
        (lambda t, m, p: p.update(kind="resnet"), "kind 'resnet' is unknown"),
        (lambda t, m, p: p["options"].pop("width"), "options"),
        (lambda t, m, p: p["options"].update(layers=10**9), "layers is 1000000000"),
        (lambda t, m, p: p["options"].update(layers=0), "layers is 0"),
        (lambda t, m, p: p["options"].update(width=True), "width is True"),
        (lambda t, m, p: p["options"].update(width=60000), "tensor shared.0.weight is torch.float32"),
        (lambda t, m, p: t.pop("last.bias"), "tensor last.bias is absent"),
        (lambda t, m, p: t.update(more=torch.zeros(2)), "a network of kind"),
        (lambda t, m, p: p["classes"].append("third"), "2 outputs for 3 classes"),
        (lambda t, m, p: p["spec"].pop("meaning"), "field spec"),
    ],
)
def test_a_model_file_that_makes_no_sense_is_refused(change, said, model, tmp_path):
    path = changed(model, tmp_path / "changed.safetensors", change)
    with pytest.raises(PolyfieldError) as error:
        Model.read(path)
    assert (
        said in str(error.value) and str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    )


def test_a_damaged_model_file_is_refused(model, tmp_path):
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(data)
    with pytest.raises(PolyfieldError, match="the content does not match its SHA-256"):
        Model.read(tmp_path / "damaged.safetensors")


# -- fields outside of banks


def test_a_field_of_a_bank_is_read_as_the_bank_is(bank, tmp_path):
    opened = Bank(bank)
    field = opened.field(3)
    polyfield.save(field, tmp_path / "three.field")
    loaded = polyfield.load(tmp_path / "three.field")
    assert is_of_spec(loaded, SPEC)
    for reads in ("planes", "weights"):
        assert torch.equal(inputs_of_field(loaded, reads), inputs_of(opened, [3], reads))
    other = create(FieldSpec.of("triplane", "sdf", UNIT, resolution=9, features=FEATURES))
    assert not is_of_spec(other, SPEC)


@pytest.mark.parametrize("signal", ["udf", "sdf", "occupancy"])
def test_a_field_of_another_spec_is_fitted_anew(signal, tmp_path):
    """The ball's surface is where it was, in the source's coordinates."""
    other = ball(tmp_path / "ball.field", replace(SPEC, options={"resolution": 12, "features": 8}))
    recipe = replace(FAST, options=FAST.options | {"resolution": 16})
    spec = spec_of(recipe, signal)
    found = refitted(other, spec, plain(recipe))
    assert is_of_spec(found, spec)
    radii = (surface_points(found, 500) - torch.tensor([1.0, 2.0, 3.0])).norm(dim=1)
    assert (radii - 0.3).abs().mean() < 0.02
    with pytest.raises(PolyfieldError, match="recipe of the network's bank is unknown"):
        refitted(other, spec, {"steps": 1})
    if signal != "udf":
        open_surface = create(FieldSpec.of("densegrid", "udf", UNIT))
        with pytest.raises(PolyfieldError, match="the field has the signal 'udf' and so no inside"):
            refitted(open_surface, spec, plain(recipe))


# -- the verbs


def test_classify_trains_and_measures(bank, model, tmp_path, capsys):
    folder = model.parent
    figures = json.loads((folder / "eval.json").read_text())
    assert figures["accuracy"] == 1 and figures["objects"] == 6 and figures["measured_on"] == "val"
    assert figures["confusion"] == [[3, 0], [0, 3]] and figures["mistakes"] == []
    low, high = figures["accuracy_interval"]
    assert low < 0.7 and high == 1
    assert len(figures["loss_by_epoch"]) == figures["epochs"] == 15 and figures["parameters"] > 1000
    assert Image.open(folder / "confusion.png").width > 100
    status, out, _ = inside(capsys, "classify", bank, "--model", model, "--out", tmp_path / "again")
    again = json.loads(out)
    assert status == 0 and again["accuracy"] == 1 and again["objects"] == 6
    assert (tmp_path / "again" / "confusion.png").is_file()
    _, out, _ = inside(capsys, "classify", bank, "--model", model, "--split", "all")
    assert json.loads(out)["objects"] == 30


def test_classify_names_a_field(bank, model, tmp_path, capsys):
    field = Bank(bank).field(3)
    polyfield.save(field, tmp_path / "three.field")
    status, out, _ = inside(
        capsys, "classify", tmp_path / "three.field", "--model", model, "--neighbours", bank
    )
    found = json.loads(out)
    assert status == 0 and found["class"] == "narrow" and found["probabilities"]["narrow"] > 0.5
    assert found["neighbours"][0] == {
        "name": "shape-3",
        "class": "narrow",
        "cosine": pytest.approx(1, abs=1e-5),
    }
    assert {near["class"] for near in found["neighbours"]} == {"narrow"}


@pytest.mark.parametrize("network", ["transformer", "cnn", "weights", "cloud"])
def test_every_network_trains(network, bank, tmp_path):
    with polyfield.quiet():
        figures = polyfield.classify(bank, network=network, epochs=1, out=tmp_path / "out")
    assert Model.read(tmp_path / "out" / "model.safetensors").network.kind == network
    assert 0 <= figures["accuracy"] <= 1


def test_mistakes_of_classify_are_named(bank, model, parts_bank, parts_model, tmp_path, capsys):
    field = Bank(bank).field(3)
    polyfield.save(field, tmp_path / "three.field")
    other = create(FieldSpec.of("hashgrid", "volume", UNIT, levels=2, entries=1 << 8))
    polyfield.save(other, tmp_path / "other.field")
    (tmp_path / "empty").mkdir()
    for arguments, said in [
        (
            [bank, "--network", "resnet"],
            "--network 'resnet' is unknown; expected one of transformer, published",
        ),
        ([bank, "--epochs", 0], "--epochs 0: expected at least 1"),
        ([bank, "--split", "some"], "--split 'some' is unknown"),
        ([bank, "--neighbours", bank], "--neighbours cannot be combined with a bank as the source"),
        ([bank, "--model", model, "--epochs", 3], "--epochs cannot be combined with --model"),
        ([bank, "--out", bank], "already exists and is not an empty folder"),
        ([bank, "--model", parts_model], "holds a network that is trained for `polyfield segment`"),
        ([bank, "--model", bank / "shards" / "00000.safetensors"], "is not a trained network"),
        ([tmp_path / "three.field"], "is a single field; give --model"),
        (
            [tmp_path / "three.field", "--model", model, "--seed", 1],
            "--seed cannot be combined with a single field as the source",
        ),
        (
            [tmp_path / "three.field", "--model", model, "--neighbours", tmp_path / "three.field"],
            "is not a bank",
        ),
        (
            [tmp_path / "other.field", "--model", model],
            "the field has the signal 'volume', but the network reads fields of shapes; use a field with the signal sdf or occupancy",
        ),
        ([tmp_path / "absent"], "absent: no such file or folder"),
        ([tmp_path / "empty"], "holds neither bank.json nor config.json"),
    ]:
        assert said in mistake(capsys, "classify", *arguments)
    renamed = make_bank(tmp_path / "renamed")
    text = (renamed / "bank.json").read_text().replace('"wide"', '"broad"')
    (renamed / "bank.json").write_text(text)
    assert "was trained on (2: wide, narrow)" in mistake(capsys, "classify", renamed, "--model", model)
    data = json.loads((renamed / "bank.json").read_text())
    data["spec"]["meaning"]["channels"] = "3"
    (renamed / "bank.json").write_text(json.dumps(data))
    assert "bank.json: field spec: channels is '3'" in mistake(capsys, "classify", renamed)


def ball(path: Path, spec: FieldSpec = SPEC):
    """A file with a field of a spec whose surface is near a ball's, in its own coordinates."""
    field = create(placed(spec, Entry("", None, "", (1.0, 2.0, 3.0), 0.5)), seed=0)
    optimiser = torch.optim.Adam(field.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    centre = torch.tensor([1.0, 2.0, 3.0])
    for _ in range(150):
        x = centre + (torch.rand(512, 3, generator=generator) - 0.5)
        loss = (field.query(x).distance - ((x - centre).norm(dim=1) - 0.3)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_field(path, field, polyfield.FieldContext())
    return field


def test_segment_trains_and_measures(parts_bank, parts_model, capsys):
    figures = json.loads((parts_model.parent / "eval.json").read_text())
    assert figures["objects"] == 6 and set(figures["miou_by_class"]) == {"wide", "narrow"}
    assert Image.open(parts_model.parent / "parts.png").width > 100
    assert Model.read(parts_model).parts_of == ((0, 1), (2, 3))
    status, out, _ = inside(capsys, "segment", parts_bank, "--model", parts_model)
    assert status == 0 and json.loads(out)["instance_miou"] == pytest.approx(figures["instance_miou"])


@pytest.mark.parametrize("suffix", ["ply", "npz"])
def test_segment_finds_the_parts_of_a_field(suffix, parts_model, tmp_path, capsys):
    from polyfield.data.clouds import open_cloud

    ball(tmp_path / "ball.field")
    out = tmp_path / f"ball.{suffix}"
    arguments = ["--model", parts_model, "--category", "narrow", "--out", out]
    status, said, _ = inside(capsys, "segment", tmp_path / "ball.field", *arguments)
    found = json.loads(said)
    assert status == 0 and set(found["points"]) == {"bottom", "top"} and sum(found["points"].values()) == 4096
    radii = torch.tensor(open_cloud(out).points - [1.0, 2.0, 3.0]).norm(dim=1)
    assert (radii - 0.3).abs().mean() < 0.03


def test_points_on_a_surface_are_where_the_field_is_0(tmp_path):
    field = ball(tmp_path / "ball.field")
    points = surface_points(field, 500)
    assert points.shape == (500, 3) and field.query(points).distance.abs().mean() < 1e-3
    volume = polyfield.create("triplane", "volume", UNIT, resolution=NODES)
    with pytest.raises(
        PolyfieldError, match="the field has the signal 'volume'; expected sdf, udf or occupancy"
    ):
        surface_points(volume, 10)


def test_mistakes_of_segment_are_named(bank, model, parts_bank, parts_model, tmp_path, capsys):
    field = tmp_path / "ball.field"
    ball(field)
    for arguments, said in [
        ([bank], "the points have no part labels"),
        ([parts_bank, "--category", "wide"], "--category cannot be combined with a bank as the source"),
        ([parts_bank, "--model", model], "holds a network that is trained for `polyfield classify`"),
        ([bank, "--model", parts_model], "its classes (2: "),
        ([field, "--model", parts_model], "give --model and --category"),
        (
            [field, "--model", parts_model, "--category", "x"],
            "--category 'x' is unknown; expected one of wide",
        ),
        (
            [field, "--model", parts_model, "--category", "wide", "--out", tmp_path / "x.obj"],
            "x.obj: expected a name that ends in .ply or .npz",
        ),
    ]:
        assert said in mistake(capsys, "segment", *arguments)
