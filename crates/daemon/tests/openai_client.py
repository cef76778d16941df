"""What a client of OpenAI's API sees of /v1. Run by openai_package.rs: openai_client.py BASE_URL SCENARIO."""

import base64
import struct
import sys

import openai


def client(url, key="unused"):
    return openai.OpenAI(base_url=url, api_key=key, timeout=30)


def mesh(url):
    api = client(url)
    answer = api.chat.completions.create(model="mesh", messages=[{"role": "user", "content": "where is water?"}])
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-"), answer
    assert choice.message.content == "You asked: where is water?" and choice.message.role == "assistant", choice
    assert choice.finish_reason == "stop" and answer.model == "fake-1" and answer.system_fingerprint == "mesh", answer
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 7, 11), usage

    # A limit holds, at a whole word.
    short = api.chat.completions.create(
        model="gpt-4o", max_tokens=5, messages=[{"role": "user", "content": "one two three four five six"}]
    )
    assert short.choices[0].message.content == "You asked: one two", short
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens <= 5, short

    # Parts of a text, a stop, and fields that mean nothing here.
    stop = api.chat.completions.create(
        model="mesh",
        temperature=0.2,
        seed=1,
        stop=["three"],
        messages=[{"role": "user", "content": [{"type": "text", "text": "one two three four"}]}],
    )
    assert stop.choices[0].message.content == "You asked: one two", stop

    # Chunks are the answer, with its usage at the end.
    question = "a question that is somewhat longer so that its answer comes in several pieces of whole words"
    chunks = list(
        api.chat.completions.create(
            model="mesh",
            stream=True,
            stream_options={"include_usage": True},
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}],
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == f"You asked: system: Be brief.\nuser: {question}", text
    assert len(chunks) > 4 and chunks[0].choices[0].delta.role == "assistant", chunks
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices, chunks[-1]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}

    # A long history is cut, and the client is told.
    history = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n} " + "x" * 100} for n in range(20)]
    history.append({"role": "user", "content": "and now?"})
    raw = api.chat.completions.with_raw_response.create(model="mesh", messages=history)
    told = raw.headers["x-compotastic-left-out"]
    assert told.startswith("16 of 21 messages"), told
    assert raw.parse().system_fingerprint == "mesh;left-out=16", raw.parse()

    # Vectors, as the package asks for them by itself (base64) and as numbers.
    vector = api.embeddings.create(model="mesh", input="bridge")
    assert [round(v, 6) for v in vector.data[0].embedding] == [0.6, -0.8, 6.0] and vector.model == "fake-1", vector
    two = api.embeddings.create(model="mesh", input=["a", "bb"], encoding_format="float")
    assert [item.embedding[2] for item in two.data] == [1.0, 2.0] and [item.index for item in two.data] == [0, 1], two
    packed = api.embeddings.create(model="mesh", input="a", encoding_format="base64").data[0].embedding
    assert struct.unpack("<3f", base64.b64decode(packed))[2] == 1.0 if isinstance(packed, str) else packed[2] == 1.0

    assert [model.id for model in api.models.list()] == ["mesh"]
    assert api.models.retrieve("mesh").owned_by == "mesh"

    # Errors: what the package makes of them, without one request more than was asked for.
    def fails(kind, part, call):
        try:
            call()
        except kind as error:
            assert part in str(error), error
            return error
        raise AssertionError(f"{kind} was expected")

    def ask(text, **more):
        return api.chat.completions.create(model="mesh", messages=[{"role": "user", "content": text}], **more)

    error = fails(openai.BadRequestError, "540 at most", lambda: ask("x" * 541))
    assert error.param == "messages[0].content" and error.type == "invalid_request_error", error.body
    fails(openai.BadRequestError, "n: only one", lambda: ask("hi", n=2))
    fails(openai.BadRequestError, "role", lambda: api.chat.completions.create(model="mesh", messages=[{"role": "tool", "content": "x"}]))
    fails(openai.BadRequestError, "not tokens", lambda: api.embeddings.create(model="mesh", input=[1, 2, 3]))
    fails(openai.UnprocessableEntityError, "no more are taken", lambda: ask("refuse this"))
    fails(openai.InternalServerError, "nobody answered", lambda: ask("this will fail"))
    fails(openai.APIError, "nobody answered", lambda: list(ask("this will fail", stream=True)))
    fails(openai.NotFoundError, "there is no model", lambda: api.models.retrieve("gpt-9"))
    fails(openai.APITimeoutError, "", lambda: api.with_options(timeout=0.5, max_retries=0).chat.completions.create(
        model="mesh", messages=[{"role": "user", "content": "wait for ever"}]))


def local(url):
    api = client(url)
    talk = [{"role": "user", "content": "x" * 3000}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "b"}]
    answer = api.chat.completions.create(model="any", messages=talk, max_tokens=1000)
    assert answer.choices[0].message.content.startswith("3 messages, 4000 characters: xxx"), answer
    assert answer.model == "brain-0.1" and answer.system_fingerprint == "local", answer
    far = api.chat.completions.create(model="mesh", messages=[{"role": "user", "content": "far"}])
    assert far.choices[0].message.content == "You asked: far" and far.model == "fake-1", far
    many = api.embeddings.create(model="brain-0.1", input=["x" * n for n in range(1, 21)])
    assert [item.embedding[1] for item in many.data] == [float(n) for n in range(1, 21)], many
    assert [model.id for model in api.models.list()] == ["brain-0.1", "mesh"]


def token(url):
    key = sys.stdin.readline().strip()
    assert client(url, key).models.list().data, "the token is taken as the key"
    try:
        client(url, "wrong").models.list()
    except openai.AuthenticationError as error:
        assert "token" in str(error), error
        return
    raise AssertionError("a wrong key was taken")


globals()[sys.argv[2]](sys.argv[1])
print("fine")
