"""The first rows of a CSV file under settings that a person tries."""

from pathlib import Path

from gui.tables.csv_preview import SAMPLE_ROWS, read_preview


def test_the_header_names_the_columns_and_gaps_get_a_name(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text('id;name;\n1;"Ada; Countess";x\n2;Grace\n', "utf-8")
    found = read_preview(path, ";", '"', "utf-8", True)
    assert found.names == ("id", "name", "column_3")
    assert found.rows == (("1", "Ada; Countess", "x"), ("2", "Grace", ""))


def test_without_a_header_the_first_line_is_data(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("1,2\n3,4\n", "utf-8")
    found = read_preview(path, ",", '"', "utf-8", False)
    assert found.names == ("column_1", "column_2")
    assert len(found.rows) == 2


def test_only_the_beginning_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    path.write_text("a,b\n" + "1,2\n" * 200_000, "utf-8")
    assert len(read_preview(path, ",", '"', "utf-8", True).rows) == SAMPLE_ROWS


def test_a_wrong_encoding_is_shown_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_bytes("città,n\nForlì,1\n".encode("windows-1252"))
    assert "\ufffd" in read_preview(path, ",", '"', "utf-8", True).names[0]
    assert read_preview(path, ",", '"', "windows-1252", True).names[0] == "città"
