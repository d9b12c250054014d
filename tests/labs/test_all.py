"""What holds for every lab of the catalogue, on every track."""

from mlsysbook import catalogue


def test_the_catalogue_has_all_labs_by_number_and_those_that_are_written_under_their_titles():
    course = catalogue.load()
    assert [x.number for x in course.labs] == [f"V1-{n:02}" for n in range(17)] + [f"V2-{n:02}" for n in range(1, 18)]
    assert len({x.title for x in course.labs}) == 34
    assert {x.assignment: f"Lab {x.number}: {x.title}" for x in course.labs if x.assignment} == {
        a.name: a.title for a in course.assignments if a.part == "labs"}
