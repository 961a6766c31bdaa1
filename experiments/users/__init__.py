"""Problems as users of a solver write them: plain torch modules, data and tasks of their own.

Nothing here uses `symadj.models`, so every field is differentiated by autograd. The same fields in
JAX are in `users.jax_fields`; `configs` has an experiment for each problem, for
`symadj-bench --config-dir experiments/users/configs` with `experiments` on the path.
"""
