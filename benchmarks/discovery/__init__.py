"""What finding other services costs, and how soon a change is known: the tables of docs/discovery-performance.md."""
