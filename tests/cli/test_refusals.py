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
evaluate bundle                                       | bundle: a bundle without its run
evaluate bundle empty.txt                             | at least 2
evaluate bundle other.txt                             | 'X' (U+0058)
evaluate huge text.txt                                | the loss is inf: the weights are too large
evaluate bundle text.txt --surprise no/where          | no/where: cannot be written: No such file
evaluate bundle text.txt --copies                     | bundle: a bundle without its run: --copies needs
inspect huge --text text.txt --json                   | the weights are too large
inspect bundle --json                                 | a bundle without its run
inspect bundle --text other.txt --json                | character 3 of other.txt, 'X'
inspect bundle --text empty.txt --json                | 0 characters: at least 2 are needed
inspect bundle bundle --text - --json                 | standard input can be read for one run only
plan latin.txt                                        | latin.txt: not valid utf-8
plan text.txt -c pipe.yaml                            | pipe.yaml: is not a regular file
sample                                                | runs/: no run here
sample bundle -p abX                                  | character 3 of the text, 'X' (U+0058)
sample bundle -p \udcff                               | character 1 of the text, U+DCFF
sample bundle -n 9223372036854775808                  | length: found 9223372036854775808
sample red\x1b[31m.txt                                | red\\x1b[31m.txt: a file, not a run
sample nan                                            | logits.bias: holds values that are not finite
serve missing                                         | missing: no such folder
serve begun                                           | begun: no best/ in this run yet
serve bundle bundle                                   | bundle: another model is called bundle too;
serve                                                 | runs/: no run here
tensorboard                                           | runs/: no run here
tensorboard missing                                   | missing: not a run: there is no tensorboard/ in it
tensorboard bundle                                    | bundle: not a run
tokenize missing.txt --out out                        | missing.txt: no such file or folder
tokenize latin.txt --out out                          | latin.txt: not valid utf-8 at byte 3 (0xE9)
tokenize text.txt --out corpus                        | corpus: exists already
tokenize /proc/self/mem --out out                     | /proc/self/mem: cannot be read
tokenize red\x1b[31m.txt --out out                    | red\\x1b[31m.txt: not valid utf-8
tokenize LONG --out out                               | xxx: cannot be read: File name too long
tokenize text.txt --out LONG                          | xxx: cannot be written: File name too long
tokenize text.txt --out out -c escape.yaml            | escape.yaml: \\x1b[31m\\n: unknown key
train missing.txt -r out                              | missing.txt: no such file or folder
train text.txt -r begun                               | begun: holds a run; continue it with --resume
train text.txt -r bundle                              | bundle: is not empty; name another
train text.txt -r out -s model.units=many             | model.units: found 'many'
train corpus -r out -s corpus.level=byte              | corpus.level: found 'byte', but corpus was
train text.txt -r out --minutes 3 -s training.steps=9 | --minutes 3: decides training.steps
train text.txt -r out --init bundle -s model.units=5  | model.units: found 5; must be 4, as in bundle
train --resume                                        | runs/: no run here
train --resume -r missing                             | missing: not a run
train --resume -r lost                                | lost/corpus/manifest.json: cannot be read: No such file
tune nonsense --minutes 1                             | nonsense: no such recipe or YAML file
tune space --minutes 1 --trial-minutes 0.6            | --trial-minutes: found 0.6; must be at most half
""")
def test_a_failure_is_one_line_that_names_what_is_wrong(line: str, expected: str) -> None:
    check_failure(line, expected)


@table("""
config chek x                                                  | No such command 'chek'
evaluate bundle --split all                                    | '--split'
evaluate bundle --protocol backwards                           | '--protocol'
evaluate bundle --window 100                                   | --window is the length of the windows
evaluate bundle --dynamic --protocol windows                   | --dynamic and --mix read the text as a stream
export bundle --format gguf --out out                          | 'gguf' is not one of
inspect bundle --text text.txt                                 | --out FILE.html
inspect bundle --json --checkpoint middle                      | 'middle'
frobnicate                                                     | No such command 'frobnicate'
tran                                                           | No such command 'tran'. Did you mean 'train'?
evaluate --protocl x                                           | No such option '--protocl'. Did you
--frobnicate                                                   | No such option
--red\x1b[31m                                                  | --red\\x1b[31m
red\x1b[31m                                                    | red\\x1b[31m
train ''                                                       | '[CORPUS]...': the path is empty
train text.txt -r ''                                           | '--run': the path is empty
train text.txt -c ''                                           | '--config': the path is empty
tokenize text.txt --out ''                                     | '--out': the path is empty
sample ''                                                      | '[RUN]': the path is empty
evaluate bundle ''                                             | '[TEXT]': the path is empty
evaluate bundle --surprise ''                                  | '--surprise': the path is empty
runs ''                                                        | '[RUNS]...': the path is empty
plan --steps                                                   | No such option
sample bundle -n -1                                            | '--length'
sample bundle --min-p nan                                      | nan is not a finite number
sample bundle -t inf                                           | inf is not a finite number
sample bundle -n 0 --json                                      | -n 0 has no end
serve --slots 0                                                | 0 is not in the range
tensorboard --port 99999                                       | '--port'
tokenize --out out                                             | Missing argument 'PATH...'
train --resume text.txt                                        | --resume continues with the text
train --resume --minutes 3                                     | --resume continues with the text
train --minutes soon                                           | '--minutes'
sample bundle --interactive --json                             | --interactive: leave out --samples,
sample bundle --interactive --stop a                           | --interactive: leave out
sample bundle --interactive -n 0                               | --interactive: -n is how far the
tune space                                                     | Missing option '--minutes'
tune space --minutes 0                                         | 0.0 is not in the range
""")
def test_wrong_usage_names_the_argument(line: str, expected: str) -> None:
    check_usage_error(line, expected)


@pytest.mark.slow  # a fresh interpreter
@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_installs_it(bundle_folder: Path, package: str) -> None:
    program = f"import sys; sys.modules['{package}'] = None; from charlm.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(bundle_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    expected = f"charlm: charlm serve needs {package}, which is not installed: pip install '.[serve]'\n"
    assert done.stderr == expected
