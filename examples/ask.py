"""Index three documents and ask about them; the answer quotes its sources."""

from welip import Client

DOCUMENTS = [
    {"id": "hallasan", "title": "한라산", "text": "한라산은 제주도에 있는 산이다. 높이는 1,947미터이다."},
    {"id": "jirisan", "title": "지리산", "text": "지리산은 세 도에 걸쳐 있는 산이다. 높이는 1,915미터이다."},
    {"id": "seoraksan", "title": "설악산", "text": "설악산은 강원도에 있는 산이다. 높이는 1,708미터이다."},
]


def main() -> None:
    """WELIP_URL names the server, WELIP_API_KEY the key; by default the one that `make up` starts."""
    with Client() as client:
        for job in client.index_documents("example-mountains", DOCUMENTS):
            client.wait(job.id)
        answer = client.ask("example-mountains", "한라산의 높이는 얼마인가요?")
        print(answer.answer)
        for number, source in enumerate(answer.citations, 1):
            print(f"[{number}] {source.title} ({source.document_id}), score {source.score:.2f}")


if __name__ == "__main__":
    main()
