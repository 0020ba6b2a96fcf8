"""Into how many parts a machine cuts its rows of a batch."""

import pytest

from charlm.config.schema import Config
from charlm.training.parts import default_parts, fill_parts


@pytest.mark.parametrize(("rows", "cores", "parts"), [(64, 2, 2), (64, 16, 8), (7, 4, 1), (16, 4, 2), (1, 1, 1)])
def test_each_core_gets_a_part_of_8_rows_or_more(rows: int, cores: int, parts: int) -> None:
    assert default_parts(rows, cores=cores) == parts


def test_a_machine_cuts_its_rows_into_as_many_parts_as_it_has_cores_unless_they_are_given() -> None:
    assert Config().training.batch_size == 64
    assert fill_parts(Config(), machines=4, cores=2).training.parts == 2
    assert fill_parts(Config(), machines=4, cores=16).training.parts == 2
    given = Config.model_validate({"training": {"steps": 1, "parts": 4}})
    assert fill_parts(given, machines=4, cores=2).training.parts == 4
