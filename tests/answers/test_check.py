import json

import numpy as np
import pytest

from mlsysbook import CheckFailed, case, check, prop
from mlsysbook.answers.check import run_case


def double(x):
    return 2 * x


@pytest.fixture
def wanted(tmp_path, monkeypatch):
    """Bake wanted results of `double` for a list of cases, as the build does."""
    monkeypatch.chdir(tmp_path)

    def bake(*cases):
        (tmp_path / "assignment.json").write_text(json.dumps({"wanted": {"double": [run_case(double, c) for c in cases]}}))
        return list(cases)
    return bake


def test_right_examples_are_counted(wanted, capsys):
    check("double", wanted(case(2), case(np.ones(3))))
    assert "2 of 2 worked examples right" in capsys.readouterr().out


def test_a_wrong_result_shows_call_got_wanted_and_reason(wanted):
    with pytest.raises(CheckFailed) as failed:
        check("double", wanted(case(2), case(5)), call=lambda x: x + 2)
    text = str(failed.value)
    assert "example 2 of 2" in text and "(5)" in text and "got      7" in text and "wanted   10" in text
    assert failed.value._render_traceback_() == [text]


def test_arguments_that_take_several_lines_start_on_their_own(wanted):
    with pytest.raises(CheckFailed) as failed:
        check("double", [case(np.ones((2, 2)), np.zeros((2, 2)))], call=lambda x, y: x, properties=[prop("be None", lambda out, *a: False)],
              compare=None)
    called = str(failed.value).split("called")[1].split("got  ")[0].rstrip().splitlines()
    assert len([line for line in called if "array of shape" in line]) == 2 and called[-1].endswith("])")
    assert not any(line.count("array of shape") and line.lstrip().startswith("[") for line in called)


def test_a_raised_error_is_shown_as_such(wanted):
    def broken(x):
        raise KeyError("gone")
    with pytest.raises(CheckFailed, match="raised KeyError"):
        check("double", wanted(case(1)), call=broken)


def test_an_unwritten_function_says_so(wanted):
    def stub(x):
        raise NotImplementedError
    with pytest.raises(CheckFailed, match="not written yet"):
        check("double", wanted(case(1)), call=stub)
    with pytest.raises(CheckFailed, match="no function of this name"):
        check("nowhere", [case(1)])


def test_the_reference_error_is_what_a_case_wants(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(x):
        raise ValueError("no")
    (tmp_path / "assignment.json").write_text(json.dumps({"wanted": {"double": [run_case(refuse, case(1))]}}))

    class Finer(ValueError):
        pass

    def finer(x):
        raise Finer("finer")
    check("double", [case(1)], call=finer)
    with pytest.raises(CheckFailed, match="wanted the error ValueError"):
        check("double", [case(1)], call=double)


def test_properties_decide_where_many_results_are_right(wanted):
    positive = [prop("be positive", lambda out, x: out > 0)]
    check("double", wanted(case(3)), compare=None, properties=positive)
    with pytest.raises(CheckFailed, match="the result must be positive"):
        check("double", wanted(case(3)), call=lambda x: -x, compare=None, properties=positive)


def test_an_argument_that_is_changed_is_noticed(wanted):
    def spoil(x):
        x *= 2
        return x
    with pytest.raises(CheckFailed, match="an argument was changed"):
        check("double", wanted(case(np.ones(3))), call=spoil)


def test_cases_do_not_see_each_others_changes():
    c = case([1, 2])
    run_case(lambda x: x.append(3), c)
    assert c.args == ([1, 2],)


def test_forbidden_names_are_refused_while_working(wanted):
    with pytest.raises(CheckFailed, match=r"uses np.add"):
        check("double", wanted(case(1)), call=lambda x: np.add(x, x), forbid=("np.add",))


def test_a_released_check_without_baked_results_still_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check("double", [case(1)])
    assert "double" in capsys.readouterr().out
