"""OpenAI-compatible servers: sending requests (client), their pace (pace), their cost (budget), and the form of questions and
answers (completions). Nothing here imports torch."""
