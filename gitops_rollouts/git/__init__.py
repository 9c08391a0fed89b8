"""Git repositories: bare mirror, ls-remote, fetch, read a tree, build a commit, push. No work tree, no hooks."""
