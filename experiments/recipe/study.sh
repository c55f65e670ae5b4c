python run.py -cd experiments/recipe -cn study "$@"
python experiments/recipe/figure.py runs/studies/recipe
