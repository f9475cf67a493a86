"""The local model: llama.cpp in process, and a packaged encoder. Needs the extra `local`.

Nothing heavy is imported here: `backend`, `encoder` and `server` load it when first used.
"""
