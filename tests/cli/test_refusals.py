"""What the commands refuse: one line that names the argument, the file or the setting."""

import subprocess
import sys
from pathlib import Path

import pytest
from commands import check_failure, check_usage_error, table

pytestmark = pytest.mark.usefixtures("place")


@table("""
config show missing                                   | missing: no such recipe or YAML file
evaluate                                              | runs/: no run here
export m.safetensors --format c --out page.html       | page.html: the format c must be a folder
inspect m.safetensors m.safetensors --text - --json                 | standard input can be read for one run only
plan latin.txt                                        | latin.txt: not valid utf-8
evaluate -                                            | -: no such file or folder; must be a run or a model file
sample red\x1b[31m.txt                                | red\\x1b[31m.txt: not a model file
sample m.safetensors --min-p nan                      | min_p: found nan; must be from 0 to 1
serve m.safetensors m.safetensors                                   | m.safetensors: another model is called m too;
tensorboard                                           | runs: no run here has been trained
tensorboard missing                                   | missing: no run here has been trained
train corpus -r out -s corpus.encoding=latin-1        | corpus.encoding: found 'latin-1', but corpus was
tokenize latin.txt --out out                          | latin.txt: not valid utf-8 at byte 3 (0xE9)
tokenize text.txt --out corpus                        | corpus: exists already
tokenize LONG --out out                               | xxx: File name too long
tokenize text.txt --out out -c escape.yaml            | escape.yaml: \\x1b[31m\\n: found
train missing.txt -r out                              | missing.txt: no such file or folder
train text.txt -r begun                               | begun: holds a run; continue it with --resume
train text.txt -r out -s model.units=many             | model.units: found 'many'
train text.txt -r out --minutes 3 -s training.steps=9 | minutes 3: decides training.steps
train text.txt -r out --init m.safetensors -s model.units=5  | model.units: found 5; must be 4, as in m.safetensors
train --resume -r missing                             | missing: not a run
tune nonsense --minutes 1                             | nonsense: no such recipe or YAML file
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    check_failure(line, expected)


@table("""
evaluate m.safetensors --window 100                                   | --window is the length of the windows
evaluate m.safetensors --protocol windows --window 0                  | '--window'
inspect m.safetensors --text text.txt                                 | --out FILE.html
tran                                                           | No such command 'tran'. Did you mean 'train'?
evaluate --protocl x                                           | No such option '--protocl'. Did you
--red\x1b[31m                                                  | --red\\x1b[31m
red\x1b[31m                                                    | red\\x1b[31m
train ''                                                       | '[TEXT]...': the path is empty
runs ''                                                        | '[RUNS]...': the path is empty
sample m.safetensors -n -1                                            | '--length'
sample m.safetensors -t -1                                            | -1.0 is not in the range
sample m.safetensors --top-p 0                                        | 0.0 is not in the range
sample m.safetensors --top-p 1.1                                      | 1.1 is not in the range
sample m.safetensors --min-p 1.1                                      | 1.1 is not in the range
sample m.safetensors -n 0 --json                                      | -n 0 has no end
train --resume text.txt                                        | --resume keeps the text
train --resume -c tiny                                         | --resume keeps the text
tune space --minutes 0                                         | 0.0 is not in the range
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)


@pytest.mark.slow  # a fresh interpreter
@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(model_file: Path, package: str) -> None:
    program = f"import sys; sys.modules['{package}'] = None; from charlm.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(model_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    expected = f"charlm: charlm serve needs {package}, which is not installed: pip install '.[serve]'\n"
    assert done.stderr == expected
