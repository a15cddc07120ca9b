"""A test that lacks its program is skipped, and is red where the program is required."""

import pytest
from wanted import REQUIRE, absent, program


def test_an_absent_program_is_a_skip_and_a_required_one_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such-program on the path"):
        program("such-program")
    monkeypatch.setenv(REQUIRE, "node,such-program")
    with pytest.raises(pytest.fail.Exception, match="names such-program"):
        program("such-program")
    with pytest.raises(pytest.skip.Exception, match="was not built"):
        absent("such", "the page was not built")
    assert program("sh").endswith("/sh")
