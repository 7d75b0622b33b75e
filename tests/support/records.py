"""Small records of every kind of experiment, as JSON."""

from __future__ import annotations

from dataclasses import asdict

from tiednmt import seeds as statistics

MACHINE = {
    "device": "CPU",
    "processor": "Some CPU",
    "cores": 4,
    "threads_per_run": 1,
    "runs_side_by_side": 2,
    "python": "3.11.7",
}


def over_seeds(values):
    """As JSON."""
    return asdict(statistics.over_seeds(values))


def common(kind, rows, seeds):
    return {
        "format": 1,
        "kind": kind,
        "experiment": "some",
        "title": "Some <corpus> & more",
        "curves": {
            name: [
                [{"update": 10 * i, "epoch": i, "nll": 5.5 - i - seed / 8} for i in (1, 2, 3)]
                for seed in range(seeds)
            ]
            for name in rows
        },
        "machine": MACHINE,
        "versions": {"tiednmt": "0.1.0", "torch": "2.13.0"},
        "command": 'python -m scripts.reproduce some --raw "a & b"',
    }


def row(name, parameters, seeds):
    return {
        "name": name,
        "parameters": parameters,
        "checkpoint_bytes": 12 * parameters,
        "updates": 30,
        "epochs": 3,
        "training_seconds": 90,
        "seeds": list(range(1, seeds + 1)),
        "recipe": {
            "common": {"cpu": True},
            "model": {"_name": "tied_gru_tiny", "tying": name},
            "dataset": {"max_tokens": 100},
        },
        "training_command": f"fairseq-train data-bin --tying {name} --cpu --save-dir runs/{name}",
    }


def gradients(*, output=(6.0, 4.0, 2.0)):
    """Two lookups of norm 1 and an output, at three updates; the source's rows get no target's."""
    norms = {"source input": [1.0] * 3, "target input": [1.0] * 3, "output": list(output)}
    sides = {
        "source input": {"source only": [0.6] * 3, "target only": [0.0] * 3, "both": [0.8] * 3},
        "target input": {"source only": [0.0] * 3, "target only": [0.6] * 3, "both": [0.8] * 3},
        "output": {side: list(output) for side in ("source only", "target only", "both")},
    }
    return {
        "updates": [0, 100, 200],
        "uses": {
            f"{use} embedding": {
                "norms": of_use,
                "bands": [
                    {"ranks": [1, 10], "norms": of_use},
                    {"ranks": [11, 20], "norms": [norm / 2 for norm in of_use]},
                ],
                "sides": sides[use],
            }
            for use, of_use in norms.items()
        },
        "cosines": {"source input embedding, output embedding": [0.01, -0.02, 0.03]},
        "rows": {"source only": 5, "target only": 6, "both": 7},
    }


INFLUENCES = {  # of five blocks of sentences, in thousandths
    "none": ["310 -420 130 -80 60", "250 -390 180 -20 -20", "340 -300 90 -190 60"],
    "three-way": ["280 -210 260 -290 -40", "150 -310 80 120 -40", "200 -440 260 -70 50"],
}


def translation(seeds=1, subsets=("test",)):
    """Two rows; texts that HTML must not take for its own."""
    rows = {"none": (2_000_000, 31.25), "three-way": (1_000_000, 31.0)}

    def scores(name, first):
        values = [first, first + 0.5, first - 0.25][:seeds]
        return {
            "score": first,
            "mean": first,
            "ci": [first - 1.5, first + 1.5],
            "signature": "nrefs:1|case:mixed",
            "over_seeds": over_seeds(values),
            "seeds": [
                {"score": value, "influences": text}
                for value, text in zip(values, INFLUENCES[name], strict=False)
            ],
        }

    return {
        **common("translation", rows, seeds),
        "baseline": "none",
        "rows": [
            {
                **row(name, size, seeds),
                "share": size / 2_000_000,
                "test": {
                    subset: {
                        "bleu": scores(name, bleu - 5 * i),
                        "chrf": scores(name, bleu + 20),
                        "ter": scores(name, 80 - bleu),
                    }
                    for i, subset in enumerate(subsets)
                },
            }
            for name, (size, bleu) in rows.items()
        ],
        "beam": 5,
        "vocabulary": {
            **{"source_only": 2, "target_only": 4, "both": 4},
            **{"source": 10, "target": 12, "joint": 18},
        },
        "samples": [
            {
                "source": 'He said "<unk>" & left.',
                "reference": "Er sagte </td> & ging.",
                "none": "Er sagte <script>alert(1)</script> & ging.",
                "three-way": "Er sagte &amp; ging.",
            }
        ],
    }


def language_model():
    """Two rows of three seeds beside a paper's figures."""
    rows = {"none": (4_650_000, [114.0, 115.0, 114.5]), "wt": (2_650_000, [112.0, 112.5, 113.0])}
    return {
        **common("tied_language_modeling", rows, seeds=3),
        "rows": [
            {
                **row(name, size, seeds=3),
                "perplexity": {
                    subset: over_seeds([value + more for value in values])
                    for subset, more in (("train", -70), ("valid", 4), ("test", 0))
                },
                "paper": {
                    "parameters": "4.65M",
                    "valid": 120.7,
                    "test": 114.5 if name == "none" else None,
                },
            }
            for name, (size, values) in rows.items()
        ],
        "note": "Nota bene.",
    }


def embeddings():
    """U, V and S of three seeds: in the paper's order, in another, and in a set not covered."""
    rows = {"none": 4_650_000, "wt": 2_650_000}
    return {
        **common("embeddings", rows, seeds=3),
        "rows": [row(name, size, seeds=3) for name, size in rows.items()],
        "paper": {"similarity": "V > U", "correlation": "V,S > U,S > U,V"},
        "seeds": 3,
        "similarity": {
            "Some <set>": {
                "covered": 1048,
                "pairs": 3000,
                "rho": {
                    "U": over_seeds([0.1, 0.12, 0.11]),
                    "V": over_seeds([0.2, 0.22, 0.24]),
                    "S": over_seeds([0.25, 0.2, 0.3]),
                },
            },
            "Other": {
                "covered": 9,
                "pairs": 12,
                "rho": {
                    "U": over_seeds([0.1, 0.12, 0.11]),
                    "V": over_seeds([-0.02, 0.01, -0.05]),
                    "S": over_seeds([0.02, 0.01, 0.06]),
                },
            },
            "Empty": {"covered": 0, "pairs": 9, "rho": {"U": None, "V": None, "S": None}},
        },
        "correlation": {
            "U,V": over_seeds([0.1, 0.2, 0.15]),
            "U,S": over_seeds([0.3, 0.31, 0.32]),
            "V,S": over_seeds([0.6, 0.7, 0.8]),
        },
    }


def skip_gram():
    """As ``embeddings``, but nothing was trained by fairseq; one seed of U and V."""
    rho = {"U": over_seeds([0.31]), "V": over_seeds([0.28])}
    record = {
        **embeddings(),
        "kind": "skip-gram",
        "rows": [],
        "curves": {},
        "seeds": 1,
        "options": {"window": 5},
        "training_command": "python -m scripts.skip_gram --text a --out b",
        "paper": {"similarity": "U > V"},
        "similarity": {"Set": {"covered": 575, "pairs": 999, "rho": rho}},
    }
    del record["correlation"]
    return record
