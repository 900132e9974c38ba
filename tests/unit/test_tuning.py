"""How `welip tune` reads, ranks and chooses; test_tuning_command.py tests the analyser and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import Table, parquet

from consumers.ranking.metrics import documents
from consumers.tuning.choosing import choose, held_out
from consumers.tuning.fusing import Joined, best
from consumers.tuning.judged import Columns, JudgedQuestion, read_judged
from infra.vectors.fusion import fuse, question_weights, ranked
from producers.client.cli.failures import WrongUse
from schemas.collections import FusionSettings, FusionWeights

CHUNKS, DOCUMENT_OF = 6, np.array([0, 0, 1, 2, 2, 3])
CEILING = 2.5


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_row_with_text_and_question_answers_itself(tmp_path):
    table = written(tmp_path / "train.tsv", 'ID\tText\tQuestion\n1\t"가" 나\t무엇?\n2\t다\t왜?\n3\t다\t어디?\n')
    found = read_judged([table], table, Columns("Text", "Question"))
    assert [(document.id, document.text) for document in found.documents] == [("1", '"가" 나'), ("2", "다")]
    assert [question.relevant for question in found.questions] == [{"1"}, {"2"}, {"2"}]
    assert found.repeated == 1


def test_several_corpora_do_not_mix_up_their_rows(tmp_path):
    one = written(tmp_path / "a.tsv", "Text\tQuestion\n가\t하나?\n")
    two = written(tmp_path / "b.tsv", "Text\tQuestion\n나\t둘?\n")
    found = read_judged([one, two], two, Columns("Text", "Question"))
    assert [document.id for document in found.documents] == ["a/1", "b/1"]
    assert found.questions == [JudgedQuestion("둘?", frozenset({"b/1"}))]


@pytest.mark.parametrize(
    ("cell", "relevant"),
    [("a", {"a"}), ("a,b", {"a", "b"}), ("a b", {"a", "b"}), ('["b", "c d"]', {"b", "c d"}), ("c d", {"c d"})],
)
def test_relevant_ids_are_read_however_they_are_written(tmp_path, cell, relevant):
    corpus = written(tmp_path / "corpus.tsv", "id\ttext\na\t가\nb\t나\nc d\t다\n")
    questions = written(tmp_path / "questions.tsv", f"question\trelevant\n무엇?\t{cell}\n")
    found = read_judged([corpus], questions, Columns(id="id", relevant="relevant"))
    assert found.questions[0].relevant == relevant


def test_json_lines_have_lists_and_titles(tmp_path):
    rows = [{"id": "a", "title": "가", "text": "나"}, {"id": "b", "title": None, "text": "다"}]
    corpus = written(tmp_path / "corpus.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    questions = written(tmp_path / "q.jsonl", '{"question": "무엇?", "relevant": ["a", "b"]}\n')
    found = read_judged([corpus], questions, Columns(id="id", title="title", relevant="relevant"))
    assert [document.title for document in found.documents] == ["가", None]
    assert found.questions[0].relevant == {"a", "b"}


def test_a_relevant_id_of_a_repeated_document_means_the_first(tmp_path):
    corpus = written(tmp_path / "corpus.csv", 'id,text\na,"가, 나"\nb,"가, 나"\n')
    questions = written(tmp_path / "q.csv", "question,relevant\n무엇?,b\n")
    assert read_judged([corpus], questions, Columns(id="id", relevant="relevant")).questions[0].relevant == {"a"}


def test_cp949_is_read(tmp_path):
    table = tmp_path / "old.tsv"
    table.write_bytes("Text\tQuestion\n한글\t무엇?\n".encode("cp949"))
    assert read_judged([table], table, Columns("Text", "Question")).documents[0].text == "한글"


def test_parquet_is_read(tmp_path):
    table = tmp_path / "corpus.parquet"
    rows = [{"id": 1, "text": "가", "question": "무엇?", "relevant": ["2", "1"]}, {"id": 2, "text": "나"}]
    parquet.write_table(Table.from_pylist(rows), table)
    found = read_judged([table], table, Columns(id="id", relevant="relevant"))
    assert [document.id for document in found.documents] == ["1", "2"]
    assert found.questions == [JudgedQuestion("무엇?", frozenset({"1", "2"}))]


def test_a_line_that_is_no_json_object_is_named(tmp_path):
    corpus = written(tmp_path / "corpus.jsonl", '{"text": "가"}\n\n[1]\n')
    with pytest.raises(WrongUse, match=r"row 2 of .* is not a JSON object"):
        read_judged([corpus], corpus, Columns(question="text"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns("text", "Question"), r"no column 'text'; it has: ID, Text, Question"),
        (Columns("Text", "question"), r"no column 'question'; it has: ID, Text, Question"),
        (Columns("Text", "Question", relevant="gold"), r"no column 'gold'; it has: ID, Text, Question"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, columns, message):
    table = written(tmp_path / "train.tsv", "ID\tText\tQuestion\n1\t가\t무엇?\n")
    with pytest.raises(WrongUse, match=message):
        read_judged([table], table, columns)


def test_relevant_documents_outside_the_corpus_are_named(tmp_path):
    corpus = written(tmp_path / "corpus.tsv", "id\ttext\na\t가\n")
    questions = written(tmp_path / "q.tsv", "question\trelevant\n무엇?\tz\n")
    with pytest.raises(WrongUse, match=r"1 documents .* are not in the corpus: 'z'"):
        read_judged([corpus], questions, Columns(id="id", relevant="relevant"))


def test_two_documents_of_one_id_are_refused(tmp_path):
    corpus = written(tmp_path / "corpus.tsv", "id\ttext\na\t가\na\t나\n")
    with pytest.raises(WrongUse, match="two documents with the id 'a'"):
        read_judged([corpus], corpus, Columns(id="id", question="text"))


def test_the_best_come_in_order_and_without_what_scores_nothing():
    found = best(np.array([0.0, 2.0, 0.5, 2.0]), depth=3)
    assert found.chunks.tolist() == [1, 3, 2]
    assert best(np.array([0.0, -1.0]), depth=2, found=False).chunks.tolist() == [0, 1]


scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=CHUNKS, max_size=CHUNKS).map(np.array)
weights = st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.25, 0.75), (0.0, 0.0)]).map(
    lambda pair: FusionWeights(sparse=pair[0], dense=pair[1], learned=float(not any(pair)))
)
fusions = st.builds(FusionSettings, method=st.sampled_from(["auto", "minmax", "rrf"]), weights=weights)


def as_the_index_ranks(arms: dict[str, np.ndarray], fusion: FusionSettings, depth: int) -> list[int]:
    found = {}
    for name, each in arms.items():
        top = best(each, depth)
        found[name] = {str(chunk): score for chunk, score in zip(top.chunks.tolist(), top.scores.tolist(), strict=True)}
    places = {str(chunk): (str(document), chunk) for chunk, document in enumerate(DOCUMENT_OF)}
    weights = question_weights(found, fusion, {chunk: document for chunk, (document, _) in places.items()}, CEILING)
    best_first = ranked(fuse(found, weights, fusion), fusion, places)
    return [int(document) for document in documents(places[chunk][0] for chunk, _ in best_first)]


@given(scores, scores, fusions, st.integers(1, CHUNKS))
def test_places_are_those_of_the_index(sparse, dense, fusion, depth):
    arms = {"sparse": sparse, "dense": dense}
    joined = Joined({name: [best(each, depth)] for name, each in arms.items()}, DOCUMENT_OF, [{0, 1, 2, 3}], [CEILING])
    order = as_the_index_ranks(arms, fusion, depth)
    expected = [order.index(document) + 1 if document in order else np.inf for document in range(4)]
    assert joined.places(fusion).places.tolist() == expected


def test_questions_do_not_see_each_others_candidates():
    arms = {"sparse": [best(np.array([3.0, 0, 2, 0, 0, 0]), 3), best(np.zeros(CHUNKS), 3), best(np.arange(6.0), 3)]}
    places = Joined(arms, DOCUMENT_OF, [{1}, {0}, {3, 0}], [CEILING] * 3).places(FusionSettings())
    assert places.places.tolist() == [2, np.inf, np.inf, 1]
    assert places.starts.tolist() == [0, 1, 2]


def test_a_setting_that_is_better_on_every_question_is_recommended():
    random = np.random.default_rng(0)
    base = random.random(100) * 0.5
    choice = choose(np.stack([base, base + 0.1, base - 0.1]), base=0, folds=5)
    assert choice.recommended == choice.best == 1
    assert set(choice.chosen) == {1}
    assert choice.gain.mean == pytest.approx(0.1)


def test_luck_is_not_recommended():
    # The best of 60 settings that differ only by chance looks better on the questions by which it was chosen.
    values = np.random.default_rng(3).random((60, 150))
    choice = choose(values, base=0, folds=5)
    assert values[choice.best].mean() > values[0].mean()
    assert choice.recommended == 0


def test_of_equally_good_settings_the_first_counts():
    assert choose(np.ones((3, 10)), base=0, folds=2).best == 0


def test_each_question_is_judged_by_what_was_chosen_without_it():
    # Setting 1 is good only for question 0, whose own fold must not know this.
    values = np.array([[0.5] * 10, [1.0] + [0.5] * 9])
    choice = choose(values, base=0, folds=10)
    assert held_out(values, choice.chosen_for)[0] == 0.5
    assert choice.best == 1


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_without_questions_are_refused(folds):
    with pytest.raises(ValueError, match="folds need"):
        choose(np.ones((2, 10)), base=0, folds=folds)
