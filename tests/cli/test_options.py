"""The options and arguments that several commands share."""

import pytest
from commands import check_usage_error, table


@pytest.mark.usefixtures("place")
@table("""
train ''                      | '[CORPUS]...': the path is empty
train text.txt -r ''          | '--run': the path is empty
train text.txt -c ''          | '--config': the path is empty
tokenize text.txt --out ''    | '--out': the path is empty
sample ''                     | '[RUN]': the path is empty
evaluate bundle ''            | '[TEXT]': the path is empty
evaluate bundle --surprise '' | '--surprise': the path is empty
runs ''                    | '[RUNS]...': the path is empty
""")
def test_an_empty_path_is_refused(line: str, expected: str) -> None:
    check_usage_error(line, expected)
