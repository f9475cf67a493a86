"""The plain door to a model: one question, a typed answer, a stream.

Uses the default model of the nearest swath.toml, or the local one.
"""

from pydantic import BaseModel

import swath as sw


class City(BaseModel):
    name: str
    country: str


answer = sw.complete("Name the capital of Portugal.", max_tokens=40)
print(answer.text, "|", answer.usage.output_tokens, "tokens,", f"${answer.cost_usd:.6f}")

city = sw.complete("Which city hosts the European Parliament?", response=City, max_tokens=60)
print(city.parsed)

for chunk in sw.stream("Count from one to five.", max_tokens=40):
    print(chunk.text, end="", flush=True)
print()
