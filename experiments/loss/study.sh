python run.py -cd experiments/loss -cn study "$@"
python experiments/loss/figure.py runs/studies/loss
