#!/bin/bash
echo "I: nothing yet"
