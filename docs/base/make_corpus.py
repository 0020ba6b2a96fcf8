"""Make the corpus of the base, from a folder with clones of the repositories in sources.tsv.

    python docs/base/make_corpus.py CLONES english.txt

The same commits give the same bytes. Each document becomes a list of paragraphs. Documents are cut
into pieces, each piece gets a style, and the pieces are shuffled. So the network reads all styles
of typing: straight and typographic quotation marks, one line per paragraph and wrapped lines, one
or two line breaks between paragraphs, Markdown and plain text, and different names of speakers.
"""

import html
import random
import re
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SOURCES = Path(__file__).with_name("sources.tsv")
PIECE = 20_000
"""Approximate number of characters of a piece."""
WIDTH = 72
"""Longest line of a piece whose lines are wrapped."""
FEWEST = 400
"""Number of characters below which a document is left out, since it is hardly prose."""

SPEAKER = "\x01"
"""Mark between the name of a speaker and the speech."""
CODE = "\x02"
"""Mark at the start of a paragraph that is code."""
LINE = "\x03"
"""Mark at the start of a paragraph that follows the one before without a blank line."""


@dataclass(frozen=True)
class Source:
    """A repository of texts."""

    repository: str
    kind: str
    """How its files are read: a key of `READERS`."""
    pattern: str
    """Names of its files."""
    share: int
    """Maximum number of characters."""


# --- XHTML: the books of Standard Ebooks ---

NOT_TEXT = ("titlepage", "imprint", "colophon", "uncopyright", "endnotes", "loi", "toc")
"""Starts of names of files that belong to the edition, not to the book."""
EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
BLOCKS = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "li", "dt", "dd", "cite", "figcaption", "td"}


def read_book(path: Path) -> list[str]:
    """Return the paragraphs of a chapter."""
    if path.name.startswith((*NOT_TEXT, "half")):
        return []
    body = ElementTree.fromstring(path.read_bytes()).find("{*}body")
    assert body is not None
    return list(_blocks(body))


def _blocks(element: ElementTree.Element) -> Iterator[str]:
    """Yield the paragraphs in an element."""
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name == "tr":
            yield from _row(child)
        elif name == "hr":
            yield "* * *"
        elif name in BLOCKS and not any(_is_block(part) for part in child):
            text = _inline(child)
            if name == "li":
                text = f"{LINE}- {text}"
            if text:
                yield text
        else:
            yield from _blocks(child)


def _is_block(element: ElementTree.Element) -> bool:
    return element.tag.rpartition("}")[2] in {*BLOCKS, "blockquote", "ol", "ul"}


def _row(row: ElementTree.Element) -> Iterator[str]:
    """Yield the speech in a row of a play: the name of the speaker, and what is said."""
    cells = [_inline(cell) for cell in row]
    is_speech = bool(len(row)) and "persona" in row[0].get(EPUB_TYPE, "")
    text = " ".join(filter(None, cells))
    if is_speech:
        text = SPEAKER.join([cells[0], " ".join(cells[1:])])
    if text:
        yield text


def _inline(element: ElementTree.Element) -> str:
    """Return the text in an element, with a line break for each <br/>, without notes."""
    lines = _inline_part(element).split("\n")
    return "\n".join(" ".join(line.split()) for line in lines).strip()


def _inline_part(element: ElementTree.Element) -> str:
    """Return this text with the spaces between and around its parts."""
    parts = [_flat(element.text)]
    for child in element:
        if child.tag.endswith("}br"):
            parts.append("\n")
        elif "noteref" not in child.get(EPUB_TYPE, ""):
            parts.append(_inline_part(child))
        parts.append(_flat(child.tail))
    return "".join(parts)


def _flat(text: str | None) -> str:
    """Return a text of an XHTML file with spaces instead of line breaks."""
    return re.sub(r"\s+", " ", text or "")


# --- Markdown: guides, blogs, proposals, recipes ---


def read_markdown(path: Path) -> list[str]:
    """Return the paragraphs of a page, without its front matter, templates, tables and HTML."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<(script|style|svg|table)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"\{[{%<].*?[}%>]\}", "", text, flags=re.DOTALL)
    paragraphs: list[str] = []
    for index, part in enumerate(re.split(r"^ *```.*\n?", text, flags=re.MULTILINE)):
        if index % 2:
            paragraphs.append(CODE + part.strip("\n"))
        else:
            paragraphs += _markdown_paragraphs(part)
    return paragraphs


def _markdown_paragraphs(text: str) -> Iterator[str]:
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)  # pictures
    text = re.sub(r"\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)  # links
    text = re.sub(r"\[([^\]\n]*)\]\[[^\]\n]*\]", r"\1", text)
    text = re.sub(r"^ *\[[^\]\n]*\]:.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{:[^}]*\}|\[\^\w+\]:?|<https?:[^>]*>|</?[a-zA-Z][^>]*>", "", text)
    text = html.unescape(text)
    text = re.sub(r"^ *(\|.*|[-=]{3,} *|\* \* \*)$", "", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n", text):
        yield from _join_lines(block)


def _join_lines(block: str) -> Iterator[str]:
    """Yield the paragraphs in lines without a blank line: headings, items of lists, and text."""
    paragraph = ""
    follows = False
    for line in block.splitlines():
        begins = re.match(r" *([-*+] |\d+[.)] |#+ )", line)
        if begins and paragraph:
            yield (LINE if follows else "") + paragraph
            follows = True
            paragraph = ""
        paragraph = f"{paragraph} {line.strip()}".strip()
        if re.match(r"#+ ", paragraph):
            yield paragraph
            paragraph = ""
    if paragraph:
        yield (LINE if follows else "") + paragraph


# --- reStructuredText: proposals for Python ---

FREE = re.compile(r"public\s+domain|CC0", re.IGNORECASE)
UNDERLINE = re.compile(r"([=\-~^\"'`*+#.:])\1{2,}\s*$")


def read_proposal(path: Path) -> list[str]:
    """Return the paragraphs of a proposal; none if it is not free."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    if not FREE.search(text[-1500:]):
        return []
    text = text.partition("\n\n")[2]  # without the header
    text = re.sub(r":[\w:-]+:`([^`<]*?)\s*(?:<[^`]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<\n]*?)\s*<[^`]*>`__?", r"\1", text)
    text = re.sub(r" ?\[[#\w]+\]_", "", text)
    text = re.sub(r"``", "`", text)
    paragraphs: list[str] = []
    is_code = False
    for indented_block in re.split(r"\n\s*\n", text):
        if indented_block.startswith(".."):
            is_code = True
            continue
        if is_code and indented_block.startswith((" ", "\t")):
            paragraphs.append(CODE + textwrap.dedent(indented_block.strip("\n")))
            continue
        block = textwrap.dedent(indented_block)
        is_code = block.rstrip().endswith("::")
        lines = block.splitlines()
        if any(re.match(r"[=+|-]{2,}[ =+|-]*$", line) for line in lines) and len(lines) > 3:
            continue  # a table
        if len(lines) > 1 and UNDERLINE.match(lines[-1]):
            paragraphs.append(f"# {lines[-2].strip()}")
        elif not UNDERLINE.match(block):
            paragraphs += _join_lines(block.replace("::", ":"))
    return paragraphs


# --- Transcripts of NASA's radio ---


def read_radio(path: Path) -> list[str]:
    """Return the speeches of a mission; they follow each other without blank lines."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    text = re.sub(r"\[glossary:([^|\]]*\|)?([^\]]*)\]", r"\2", text)
    paragraphs: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith(("[", "_")):
            continue
        speech = re.match(r"([A-Z][\w /-]{0,15}): *(.*)", line)
        if speech:
            paragraphs.append(LINE + SPEAKER.join(speech.groups()))
        elif paragraphs:
            paragraphs[-1] += f" {line.strip()}"
    return paragraphs


READERS: dict[str, Callable[[Path], list[str]]] = {
    "book": read_book,
    "markdown": read_markdown,
    "rst": read_proposal,
    "radio": read_radio,
}


# --- Styles ---

NOT_TYPED = {"Cf", "Cs", "Co", "Mn", "So"}
"""Unicode categories of characters that are left out: invisible ones, and pictograms."""
SPACES = str.maketrans(dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\t", " "))
TYPEWRITER = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "-", "″": '"', "′": "'"}
)


@dataclass(frozen=True)
class Style:
    """How a piece is typed."""

    dash: str
    """What stands for a long dash."""
    is_typographic: bool
    """Whether quotation marks are curly."""
    is_markdown: bool
    """Whether headings, emphasis and code keep their marks."""
    gap: str
    """What separates paragraphs."""
    speaker: Callable[[str, str], str]
    """How a name and a speech are typed."""
    width: int
    """Longest line; 0 = a paragraph is a line."""
    is_lower: bool
    """Whether there are no capitals."""

    @staticmethod
    def random(rng: random.Random) -> "Style":
        """Return a style of a piece."""
        speakers = (
            lambda name, text: f"{name}: {text}",
            lambda name, text: f"{name.upper()}: {text}",
            lambda name, text: f"{name.upper()}.\n{text}",
            lambda name, text: f"{name}:\n{text}",
        )
        return Style(
            dash=rng.choice(["--", " - ", "\u2014"]),
            is_typographic=rng.random() < 0.2,
            is_markdown=rng.random() < 0.5,
            gap="\n" if rng.random() < 0.25 else "\n\n",
            speaker=rng.choice(speakers),
            width=WIDTH if rng.random() < 0.2 else 0,
            is_lower=rng.random() < 0.03,
        )

    def type(self, paragraphs: list[str]) -> str:
        """Return a piece in this style."""
        typed = ""
        for paragraph in paragraphs:
            text = self._type_paragraph(paragraph)
            if text:
                gap = "\n" if paragraph.startswith(LINE) else self.gap
                typed += (gap if typed else "") + text
        if not self.is_typographic:
            typed = typed.translate(TYPEWRITER)
        typed = re.sub(" ?\u2014 ?", self.dash, typed)
        return (typed.lower() if self.is_lower else typed) + "\n"

    def _type_paragraph(self, paragraph: str) -> str:
        if paragraph.startswith(CODE):
            return paragraph.removeprefix(CODE) if self.is_markdown else ""
        paragraph = paragraph.removeprefix(LINE)
        if SPEAKER in paragraph:
            paragraph = self.speaker(*paragraph.split(SPEAKER, 1))
        if not self.is_markdown:
            paragraph = re.sub(r"^#+ ", "", paragraph)
            paragraph = re.sub(
                r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=[\w.,!?])[*_](?!\w)", "", paragraph
            )
        if not self.width:
            return paragraph
        return "\n".join(
            textwrap.fill(line, self.width, break_long_words=False, break_on_hyphens=False)
            for line in paragraph.splitlines()
        )


# --- The corpus ---


def read_sources() -> list[Source]:
    """Return the repositories of sources.tsv."""
    lines = SOURCES.read_text(encoding="utf-8").splitlines()[1:]
    sources = []
    for line in lines:
        repository, _, _, kind, pattern, share = line.split("\t")
        sources.append(Source(repository, kind, pattern, int(share)))
    return sources


def make_pieces(source: Source, clones: Path) -> list[str]:
    """Return the pieces of a repository."""
    rng = random.Random(source.repository)
    folder = clones / source.repository
    paths = sorted(folder.glob(source.pattern))
    assert paths, f"{folder}: no {source.pattern}"
    if source.kind != "book":
        rng.shuffle(paths)
    pieces: list[str] = []
    paragraphs: list[str] = []
    length = total = 0
    for path in paths:
        document = [_clean(each) for each in READERS[source.kind](path)]
        if sum(map(len, document)) < FEWEST or not _is_english(document):
            continue
        for paragraph in document:
            paragraphs.append(paragraph)
            length += len(paragraph)
            if length >= PIECE:
                pieces.append(Style.random(rng).type(paragraphs))
                total += length
                paragraphs, length = [], 0
        if total >= source.share:
            return pieces
    if paragraphs:
        pieces.append(Style.random(rng).type(paragraphs))
    return pieces


def _clean(text: str) -> str:
    """Return a text without invisible characters, pictograms and unusual spaces."""
    text = unicodedata.normalize("NFC", text).translate(SPACES)
    text = "".join(each for each in text if unicodedata.category(each) not in NOT_TYPED)
    text = re.sub("[\u2e3a\u2e3b\u2015]", "\u2014", text)
    return text if text.startswith(CODE) else re.sub(r" +", " ", text)


def _is_english(document: list[str]) -> bool:
    words = " ".join(document).lower().split()
    return sum(word in {"the", "of", "and", "to", "a"} for word in words) > 0.08 * len(words)


def main(clones: str, target: str) -> None:
    """Write the corpus."""
    pieces: list[str] = []
    for source in read_sources():
        made = make_pieces(source, Path(clones))
        print(f"{sum(map(len, made)):>9,} {source.repository}")
        pieces += made
    random.Random(0).shuffle(pieces)
    text = "\n".join(pieces)
    Path(target).write_text(text, encoding="utf-8")
    print(f"{len(text):>9,} characters")


if __name__ == "__main__":
    main(*sys.argv[1:])
