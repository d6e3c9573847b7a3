"""Rewards over HTTP, asked for as OpenRLHF asks."""

import http.client
import json
import socket
import struct
import threading
import time

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import scpo
from scpo.api.server import RewardServer


@pytest.fixture(scope="module")
def servers(model_folder):
    running = {}
    for kind in ("bert", "llama"):
        model = scpo.RewardModel.from_pretrained(model_folder(kind))
        server = RewardServer(model, port=0, max_bytes=4000, max_queries=8)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        running[kind] = server
    yield running
    for server in running.values():
        server.shutdown()
        server.server_close()


def ask(server, body, *, path="/get_reward", method="POST", headers=None):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, headers or {"Content-Type": "application/json"})
    answer = connection.getresponse()
    value = json.loads(answer.read())
    connection.close()
    return answer.status, value


def test_rendered_conversations_score_as_in_plain_transformers(servers, model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    said = [("a b", "good"), ("c", "bad d"), ("e", "h h h")]
    queries = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p}, {"role": "assistant", "content": r}], tokenize=False
        )
        for p, r in said
    ]
    inputs = tokenizer(queries, add_special_tokens=False, padding=True, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(model_folder("llama")).eval()
    with torch.no_grad():
        expected = model(**inputs).logits[:, 0].tolist()
    status, value = ask(servers["llama"], {"query": queries, "prompts": [], "labels": []})
    assert status == 200
    assert value["rewards"] == pytest.approx(expected, abs=1e-5)
    assert value["scores"] == value["rewards"]
    direct = servers["llama"].model.score(*zip(*said, strict=True))
    assert value["rewards"] == pytest.approx(direct.tolist(), abs=1e-5)


def test_pairs_are_told_apart_by_their_prompts(servers):
    server = servers["bert"]
    queries, prompts = ["a b good", "c bad d"], ["a b", "c"]
    status, value = ask(server, {"query": queries, "prompts": prompts})
    expected = server.model.score(prompts, ["good", "bad d"]).tolist()
    assert (status, value["rewards"]) == (200, pytest.approx(expected, abs=1e-6))
    messages = [
        [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "good"}],
        [{"role": "user", "content": "c"}, {"role": "assistant", "content": "bad d"}],
    ]
    assert ask(server, {"query": messages}) == (status, value)


@pytest.mark.parametrize(
    ("body", "status", "match"),
    [
        (b"{", 400, "must be JSON"),
        (b"\xff", 400, "must be JSON"),
        ([], 400, 'a list "query"'),
        ({"query": "a"}, 400, 'a list "query"'),
        ({"query": []}, 400, "not empty"),
        ({"query": ["a"] * 9}, 400, "may have 8 queries"),
        ({"query": ["a", []]}, 400, "all be texts"),
        ({"query": ["a b"]}, 400, '"prompts" must be a list'),
        ({"query": ["a b"], "prompts": ["c"]}, 400, "must begin with its prompt"),
        ({"query": [[{"role": "user", "content": "a"}]]}, 400, "two messages or more"),
        (
            {"query": [[{"role": "user", "content": "a"}, {"role": "user", "content": "a"}]]},
            400,
            "one message of the assistant",
        ),
        ({"query": ["a" * 5000]}, 413, "may have 4000 bytes"),
        ({"query": ["a \ud83d"], "prompts": ["a "]}, 400, "half of a surrogate pair"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(servers, body, status, match):
    found, value = ask(servers["bert"], body)
    assert (found, "\n" in value["error"]) == (status, False)
    assert match in value["error"]
    assert ask(servers["bert"], {"query": ["a b"], "prompts": ["a"]})[0] == 200  # goes on


def test_other_paths_and_methods(servers):
    server = servers["bert"]
    assert ask(server, {}, path="/other")[0] == 404
    assert ask(server, b"", path="/get_reward", method="GET")[0] == 405
    assert ask(server, b"", path="/health", method="GET") == (200, {"status": "ok"})
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.putrequest("POST", "/get_reward")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


@pytest.mark.parametrize("content", ["a \ud83d", [{"role": "user", "content": "\ud83d"}] * 2])
def test_half_a_surrogate_pair_is_refused(servers, content):
    status, value = ask(servers["llama"], {"query": [content]})
    assert (status, "has '\\ud83d', half of a surrogate pair" in value["error"]) == (400, True)


def test_a_length_of_many_digits_is_refused(servers):
    headers = {"Content-Length": "9" * 5000}
    status, value = ask(servers["bert"], b"", headers=headers)
    assert (status, value["error"]) == (413, "A body may have 4000 bytes, but has more.")


def test_a_client_that_resets_is_no_fault(servers, capsys):
    client = socket.create_connection(servers["bert"].server_address[:2])
    client.sendall(b"POST /get_reward HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.2)  # the server waits for the rest of the body
    client.close()
    time.sleep(0.2)
    assert ask(servers["bert"], b"", path="/health", method="GET")[0] == 200
    assert capsys.readouterr() == ("", "")


def test_an_address_of_ipv6(servers):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with RewardServer(servers["bert"].model, "::1", 0) as server:
        assert server.url == f"http://[::1]:{server.server_address[1]}"


def test_requests_at_once_get_their_own_rewards(servers):
    server, found = servers["bert"], {}
    responses = ["good", "bad d", "fine", "long a"]

    def one(text):
        found[text] = ask(server, {"query": [f"a {text}"], "prompts": ["a "]})[1]["rewards"][0]

    threads = [threading.Thread(target=one, args=(text,)) for text in responses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = server.model.score(["a "] * 4, responses).tolist()
    assert [found[text] for text in responses] == pytest.approx(expected, abs=1e-6)


def test_an_address_that_is_taken_is_refused(servers):
    host, port = servers["bert"].server_address[:2]
    with pytest.raises(OSError, match="cannot be listened on"):
        RewardServer(servers["bert"].model, host, port)
