python run.py -cd experiments/surround -cn study "$@"
python run.py -cd experiments/surround -cn claims "$@"
python experiments/surround/figure.py runs/studies/surround/claims
