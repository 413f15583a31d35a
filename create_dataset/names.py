"""The names that flowcharts use: a topic and a noun, such as "fraud classifier". The noun decides the kind of shape.

Names come from the fields that people ask about. All names of one flowchart belong to the same field.
"""

from random import Random

import networkx as nx

# For each field and kind: its weight among the kinds that are allowed at a place, the topics, and the nouns.
FIELDS: dict[str, dict[str, tuple[int, str, str]]] = {
    "machine learning": {
        "data": (4, "training test validation raw sensor image feature label weather demand", "data dataset features"),
        "picture": (2, "street satellite face X-ray road drone crop", "image photo scan video"),
        "function": (3, "noise outlier image label language feature", "filter splitter converter scaler loader"),
        "process": (3, "model data hyperparameter feature batch", "training cleaning evaluation tuning step"),
        "model": (4, "fraud churn vision speech price demand weather face", "model classifier network encoder"),
        "chart": (5, "loss accuracy error ROC", "plot chart dashboard"),
        "decision": (1, "accuracy drift quality bias", "check test gate"),
    },
    "language models": {
        "data": (2, "document text query token embedding", "vectors chunks tokens data"),
        "document": (4, "user system final search chat draft", "prompt question answer text summary"),
        "database": (2, "vector document keyword chat wiki", "store index database cache"),
        "function": (3, "text PDF query citation keyword", "splitter parser ranker retriever filter"),
        "model": (4, "embedding language reranking chat safety RAG planning", "model LLM encoder agent"),
        "service": (1, "chat search tool web", "service API app"),
        "person": (1, "", "user customer editor"),
        "decision": (1, "safety relevance fact", "check review gate"),
    },
    "data engineering": {
        "data": (4, "sales click order log stock event", "data records events stream table"),
        "document": (1, "CSV JSON PDF daily", "file report"),
        "database": (3, "staging customer raw backup sales", "warehouse lake database store archive"),
        "function": (3, "schema duplicate JSON CSV column date", "parser filter merger converter loader"),
        "process": (2, "daily hourly nightly data", "import cleaning backup export step"),
        "chart": (5, "revenue sales traffic KPI", "dashboard chart plot"),
        "service": (1, "ingest stream event", "service queue gateway"),
        "decision": (1, "quality schema freshness", "check test gate"),
    },
    "web services": {
        "service": (
            5,
            "login payment product search mail image admin web mobile",
            "service server API app gateway queue",
        ),
        "database": (3, "session user product order image", "database cache store index"),
        "data": (2, "click session error access", "logs events records"),
        "picture": (1, "product profile", "image photo video"),
        "process": (1, "password order account", "reset booking payment checkout"),
        "person": (1, "", "customer user visitor admin"),
        "document": (1, "welcome error order", "email page"),
        "decision": (1, "token password access", "check test"),
    },
    "business": {
        "document": (4, "purchase travel credit repair job tax", "form invoice report contract email ticket quote"),
        "process": (4, "order goods budget staff parts", "shipping planning booking delivery training payment"),
        "person": (2, "", "customer manager clerk supplier analyst"),
        "decision": (3, "budget manager credit legal quality stock", "approval check review"),
        "database": (2, "customer stock contract", "database archive"),
        "chart": (4, "sales cost", "chart dashboard"),
        "service": (1, "support billing", "service app"),
        "data": (1, "order customer stock", "records data"),
    },
}
KIND_OF_NOUN = {
    noun: kind for field in FIELDS.values() for kind, (_, _, nouns) in field.items() for noun in nouns.split()
}
_FIRST = ("data", "document", "picture", "database", "person", "service")  # the kinds that a flow starts with
_LAST = ("chart", "document", "data", "database", "model", "person", "service")  # the kinds that it ends with
_LONG = 0.08  # share of names with two topics


def name_shapes(rng: Random, graph: nx.DiGraph) -> None:
    """Give each node of the graph a `kind` and a `name`, such as "fraud classifier".

    No name is equal to another one or a part of one, so a request can be read in one way only.
    """
    field = FIELDS[rng.choice(list(FIELDS))]
    names: list[str] = []
    for number in sorted(graph):
        kinds = list(field)
        if graph.in_degree(number) == 0:
            kinds = [kind for kind in kinds if kind in _FIRST]
        elif graph.out_degree(number) == 0:
            kinds = [kind for kind in kinds if kind in _LAST]
        else:
            kinds = [kind for kind in kinds if kind != "chart"]  # nothing is made from a chart
        while True:
            kind = rng.choices(kinds, [field[kind][0] for kind in kinds])[0]
            _, topics, nouns = field[kind]
            noun = rng.choice(nouns.split())
            long = rng.random() < _LONG
            words = [*rng.sample(topics.split(), 1 + long), noun] if topics else [noun]
            name = " ".join(words)
            others = [(f" {a} ", f" {b} ") for other in names for a, b in ((name, other), (other, name))]
            repeats = any(noun.startswith(topic) for topic in words[:-1])  # as in "token tokens"
            if not repeats and not any(a in b for a, b in others):
                break
        names.append(name)
        graph.nodes[number].update(kind=kind, name=name)
