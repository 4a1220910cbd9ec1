"""Fields in a box of their domain, as teachers."""

import pytest
import torch

import polyfield
from polyfield.api.opening import cropped
from polyfield.distill.options import Conversion
from polyfield.distill.radiance_task import RadianceConversion
from polyfield.distill.task import Taught
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, Meaning, Points, StoredField, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import save_field
from polyfield.fitting.rays import grid
from polyfield.fitting.runs.config import FitConfig
from polyfield.kernels import uniform
from polyfield.progress import silent

# A box far from zero, so that it has an origin.
DOMAIN = Domain.around((100000.0, 0.0, 0.0), [2.0] * 3)
SMALL = {"levels": 3, "entries": 1 << 10, "finest": 32, "width": 16}


@pytest.fixture(autouse=True)
def few_cells(monkeypatch):
    monkeypatch.setattr(grid, "MOST_CELLS", 32)


def radiance() -> tuple[StoredField, FieldContext]:
    field = create(FieldSpec.of("hashgrid", "radiance", DOMAIN, **SMALL), seed=0)
    with torch.no_grad():
        field.encoding.tables[0].mul_(1e4)
    occupied = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    occupied[0, 7:9, 7:9, 7:9] = True
    return field, FieldContext(step_size=0.05, occupancy=occupied)


def inside(count: int = 2000) -> torch.Tensor:
    """World points in the cube of half size 0.5 around the origin."""
    return uniform((count, 3), seed=0, stream="inside") - 0.5


def test_densities_and_colours_stay_those_of_the_whole_field():
    field, context = radiance()
    view, there = cropped(field, context, (100000.0, 0.0, 0.0, 0.5), "a.field")
    assert view.meaning.domain.half_size == (0.5,) * 3 and view.meaning.domain.origin == DOMAIN.origin
    points = Points(inside(), torch.nn.functional.normalize(inside(), dim=1))
    field.context = context
    wanted, found = (f.head(f.features(points), points) for f in (field, view))
    known = view.occupied(points.x)
    assert known.sum() > 150
    torch.testing.assert_close(found.density[known], wanted.density[known], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.colour[known], wanted.colour[known])
    assert there.occupancy.shape[-1] == 32 and 0 < there.occupancy.float().mean() < 1


def test_a_student_of_a_crop_has_the_box_as_its_domain():
    field, context = radiance()
    view, there = cropped(field, context, (100000.0, 0.0, 0.0, 0.5), "a.field")
    task = RadianceConversion(Taught(view, there, "a", "0" * 64), Conversion())
    fit = task.begin(FitConfig(source="a", field="hashgrid", steps=3, options=SMALL), silent)
    while fit.progress < 1:
        fit.step()
    assert fit.field.meaning == view.meaning and task.context(fit).occupancy.any()


def test_values_stay_those_of_the_whole_field(tmp_path):
    field = create(FieldSpec("hashgrid", Meaning.of("sdf", DOMAIN), SMALL), seed=0)
    save_field(tmp_path / "a.field", field, FieldContext())
    with polyfield.quiet():
        run = polyfield.convert(
            tmp_path / "a.field",
            to="densegrid",
            box=(100000.5, 0.0, 0.0, 1.0),
            steps=5,
            options={"levels": 1, "finest": 8},
            out=tmp_path / "b",
        ).run
    student = polyfield.load(run)
    assert student.meaning.domain.half_size == (1.0,) * 3 and student.meaning.domain.centre[0] == 0.5
    assert student.meaning == Meaning.of("sdf", student.meaning.domain)
    view, _ = cropped(field, FieldContext(), (100000.5, 0.0, 0.0, 1.0), "a.field")
    x = torch.tensor([100000.5, 0.0, 0.0], dtype=torch.float64) + inside().double()
    torch.testing.assert_close(view.query(x).distance, field.query(x).distance)
    assert torch.equal(view.query(x).raw, view.raw(view.points(x)))
    assert view.raw(view.points(x))[0] == 2 * field.raw(field.points(x))[0]  # its size is a half


@pytest.mark.parametrize(
    "box, words",
    [
        (
            (100000.0, 0.0, 0.0, 2.1),
            "a.field: --box reaches beyond the field's domain, which is a box of size 4 x 4 x 4",
        ),
        ((0.0, 0.0, 0.0, 1.0), "--box reaches beyond"),
    ],
)
def test_a_box_that_is_no_part_of_the_domain_is_refused(box, words):
    with pytest.raises(PolyfieldError, match=words):
        cropped(*radiance(), box, "a.field")


def test_the_domain_itself_is_a_box_in_it():
    view, _ = cropped(*radiance(), (100000.0, 0.0, 0.0, 2.0), "a.field")
    assert view.meaning.domain == DOMAIN


def test_an_empty_box_is_refused():
    with pytest.raises(PolyfieldError, match="a.field: the field is empty in --box"):
        cropped(*radiance(), (100001.5, 1.5, 1.5, 0.3), "a.field")


def test_fields_of_images_have_no_box():
    field = create(FieldSpec("hashgrid", Meaning.of("image", Domain("box", (0.5, 0.5), (0.5, 0.5))), SMALL))
    with pytest.raises(PolyfieldError, match="a.field: --box is for still fields in three dimensions"):
        cropped(field, FieldContext(), (0.0, 0.0, 0.0, 1.0), "a.field")
