python run.py -cd experiments/clamp -cn study "$@"
python run.py -cd experiments/clamp -cn claims "$@"
python experiments/clamp/figure.py runs/studies/clamp/claims
